package routing

import "vestibule/configs"

// Explanation is a decision with what was considered on the way.
type Explanation struct {
	Decision Decision
	// Lost are the candidates that did not answer, in the order in which they
	// were considered.
	Lost []Candidate
}

// Candidate is a rule, or a class of one, that could have answered.
type Candidate struct {
	Rule  *Rule
	Class configs.Class
	// Why it did not, such as "method POST, wants GET" or "no process configured
	// for class sync".
	Why string
}

// Explain decides as Match does, and tells what lost and why.
func (t *Table) Explain(r *Request) Explanation {
	var tr trace
	var e Explanation
	t.match(r, &e.Decision, &tr)
	e.Lost = tr.candidates
	return e
}

// trace collects candidates that lost. A nil trace, which is Match's, takes no
// notice.
type trace struct{ candidates []Candidate }

func (tr *trace) lost(rule *Rule, class configs.Class, why string) {
	if tr != nil {
		tr.candidates = append(tr.candidates, Candidate{rule, class, why})
	}
}
