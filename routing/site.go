package routing

import "vestibule/configs"

// site is what a homeserver's hosts share: its pools, and who answers each row
// of the catalogue there.
type site struct {
	config     *configs.Site
	name       string
	running    Release                 // of Synapse; the zero value when unknown
	pools      map[configs.Class]*Pool // of the workers
	main       *Pool
	federation *Pool // the main process's federation listener; may be main
	answers    []answer
	admins     *gate   // before Ketesa
	adminAPI   *gate   // before /_synapse/admin and MAS's admin API
	policy     *policy // with whom the site federates
	compat     []claim // what MAS answers in place of Synapse
}

// answer is who answers a row, by whether the request is about a room id.
type answer struct{ plain, room choice }

type choice struct {
	pool   *Pool
	spares []*Pool
	main   *Pool
	byRoom bool // the class room was chosen, which sticks to the room id
}

// hasMAS reports whether login is with MAS.
func (s *site) hasMAS() bool { return s.config.MAS != nil && !s.config.MAS.Migrating }

// answer finds who answers a row of the catalogue.
func (s *site) answer(r *row) answer {
	return answer{plain: s.choose(r, false), room: s.choose(r, true)}
}

// choose takes the first class that has processes. The next ones that have some
// can stand in for it, in the end the main process, unless one stands alone. A
// class that the site's Synapse is too old for is skipped like one without
// processes.
func (s *site) choose(r *row, isRoom bool) choice {
	c := choice{main: s.main}
	if r.area == areaFederation {
		c.main = s.federation
	}
	for _, p := range r.classes {
		pool := s.pools[p.class]
		switch {
		case s.running.lacks(p.since) || pool == nil || p.ifRoom && !isRoom:
			continue
		case c.pool == nil:
			c.pool, c.byRoom = pool, p.ifRoom
		default:
			c.spares = append(c.spares, pool)
		}
		if p.alone {
			return c
		}
	}
	if c.pool == nil {
		c.pool = c.main
	} else {
		c.spares = append(c.spares, c.main)
	}
	return c
}

// decide is the decision for a request that fits a row of the catalogue.
func (s *site) decide(f *form, r *Request, t *target, d *Decision, tr *trace) {
	isRoom := f.room >= 0 && isRoomID(segmentAt(t.path, f.room))
	answer := &s.answers[f.row.index]
	c := &answer.plain
	if isRoom {
		c = &answer.room
	}
	if tr != nil {
		s.traceClasses(f.row, isRoom, tr)
	}
	d.Action, d.Rule = Proxy, &f.row.rule
	d.Endpoint, d.Class = f.row.endpoint, c.pool.Class
	d.Pool, d.Spares, d.Main = c.pool, c.spares, c.main
	d.setKey(f, c.byRoom, r, t)
}

// traceClasses tells which classes of a row were passed over, and why.
func (s *site) traceClasses(r *row, isRoom bool, tr *trace) {
	for _, p := range r.classes {
		switch {
		case p.ifRoom && !isRoom:
			tr.lost(&r.rule, p.class, "not about a room id")
		case s.running.lacks(p.since):
			tr.lost(&r.rule, p.class, "since Synapse "+p.since.String()+", and "+s.running.String()+" runs here")
		case s.pools[p.class] != nil:
			return
		case p.class != configs.ClassMain:
			tr.lost(&r.rule, p.class, "no process configured for class "+string(p.class))
		}
	}
}
