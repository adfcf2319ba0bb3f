package routing

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
)

// Release is a release of Synapse, such as 1.163. Endpoints come and go with
// these; what follows the second number (patches, candidates, a distribution's
// builds) brings none. The zero value is a release that nobody knows.
type Release struct{ Major, Minor int }

// releaseText is what Synapse calls itself: a version as Python's packages have
// it (PEP 440), as in "1.164.0rc1" or "1.157.1+16", and in a checkout of git
// words in brackets, as in "1.163.2 (b=main,958480a)".
var releaseText = regexp.MustCompile(`^(\d{1,6})\.(\d{1,6})(\.\d{1,6}){0,2}((a|b|rc)\d{1,6})?(\.post\d{1,6})?(\.dev\d{1,6})?(\+[A-Za-z0-9.-]{1,100})?( \([ -'*-~]{0,200}\))?$`)

// ParseRelease reads a version of Synapse's.
func ParseRelease(text string) (Release, error) {
	found := releaseText.FindStringSubmatch(text)
	if found == nil {
		return Release{}, fmt.Errorf("reading a release of Synapse: %.100q is none (hint: one is such as 1.163 or 1.163.2)", text)
	}
	var r Release
	r.Major, _ = strconv.Atoi(found[1]) // digits, and few
	r.Minor, _ = strconv.Atoi(found[2])
	return r, nil
}

// Compare is negative when r came before other, positive when it came after.
func (r Release) Compare(other Release) int {
	return cmp.Or(cmp.Compare(r.Major, other.Major), cmp.Compare(r.Minor, other.Minor))
}

// Newer reports whether r came after other.
func (r Release) Newer(other Release) bool { return r.Compare(other) > 0 }

// IsZero reports whether nobody knows the release.
func (r Release) IsZero() bool { return r == Release{} }

// String is such as "1.163".
func (r Release) String() string {
	if r.IsZero() {
		return "unknown"
	}
	return fmt.Sprintf("%d.%d", r.Major, r.Minor)
}

// lacks reports whether a Synapse of release r is known not to serve what came
// with since.
func (r Release) lacks(since Release) bool { return !r.IsZero() && since.Newer(r) }

// CatalogueRelease is the newest release of Synapse that the catalogue has been
// held against. With a newer one, endpoints that moved are not known here.
func CatalogueRelease() Release { return checkedReleases()[1] }

// CatalogueOldest is the oldest one. Rows that say no release hold since then;
// before, nobody knows.
func CatalogueOldest() Release { return checkedReleases()[0] }

func checkedReleases() [2]Release {
	c, err := synapse()
	if err != nil {
		return [2]Release{} // New tells
	}
	return c.checked
}
