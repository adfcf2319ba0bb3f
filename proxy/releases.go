package proxy

import (
	"maps"

	"vestibule/configs"
	"vestibule/routing"
)

// SynapseStatus is what a site's Synapse says that it is.
type SynapseStatus struct {
	// Release is what its main process runs, such as "1.163.2"; "" before the
	// first probe, or when it does not tell.
	Release string
	// Warning is a sentence when the catalogue of endpoints was not held against
	// that release.
	Warning string
}

// Synapse describes a site's Synapse.
func (p *Proxy) Synapse(site string) SynapseStatus {
	text := p.state.Load().running(site)
	return SynapseStatus{text, strangeness(releaseOf(text))}
}

// running is the release that a site's main process runs, as it says; of several
// addresses the oldest, which knows the fewest endpoints.
func (st *state) running(site string) (text string) {
	for _, pl := range st.pools {
		if pl.Site != site || pl.Class != configs.ClassMain {
			continue
		}
		for _, u := range pl.upstreams {
			if said := u.running(); said != "" && (text == "" || releaseOf(text).Newer(releaseOf(said))) {
				text = said
			}
		}
	}
	return text
}

func (u *Upstream) running() (text string) {
	set := u.found.Load()
	if set == nil {
		return ""
	}
	for _, a := range set.list {
		if said := a.running.Load(); said != nil && (text == "" || releaseOf(text).Newer(releaseOf(*said))) {
			text = *said
		}
	}
	return text
}

// releaseOf is zero for what is no release.
func releaseOf(text string) routing.Release {
	release, err := routing.ParseRelease(text)
	if err != nil {
		return routing.Release{}
	}
	return release
}

// strangeness is what to say of a release that the catalogue was not held
// against, "" when it was.
func strangeness(r routing.Release) string {
	switch newest, oldest := routing.CatalogueRelease(), routing.CatalogueOldest(); {
	case r.IsZero():
		return ""
	case r.Newer(newest):
		return "Synapse " + r.String() + " is newer than " + newest.String() + ", up to which this vestibule knows its endpoints: " +
			"what changed since may be asked of the wrong process (remedy: upgrade vestibule)"
	case oldest.Newer(r):
		return "Synapse " + r.String() + " is older than " + oldest.String() + ", from which on this vestibule knows its endpoints: " +
			"some may be asked of a worker that does not serve them yet (remedy: upgrade Synapse)"
	}
	return ""
}

// noticed is called when a process turns out to run another release than before.
func (p *Proxy) noticed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.follow()
}

// follow looks which releases the sites run, and has the table follow: what a
// release's workers do not know yet goes to the main process. The caller holds mu.
func (p *Proxy) follow() {
	st := p.state.Load()
	found := map[string]routing.Release{}
	for _, site := range st.cfg.Sites {
		was, known := p.releases[site.ServerName]
		switch release := releaseOf(st.running(site.ServerName)); {
		case !release.IsZero() && release != was:
			found[site.ServerName] = release
			p.tellRelease(site.ServerName, release)
		case known:
			found[site.ServerName] = was
		}
	}
	for site := range p.releases {
		if _, kept := found[site]; !kept {
			p.metrics.outdated.DeleteLabelValues(site)
		}
	}
	p.releases = found
	if maps.Equal(found, st.releases) {
		return
	}
	fresh := &state{cfg: st.cfg, locals: st.locals, releases: found, authorities: st.authorities}
	if _, err := p.build(fresh, p.upstreams); err != nil { // which cannot be: it could be built before
		p.log.Error("the table could not follow the release of Synapse", "error", err)
		return
	}
	p.use(fresh)
}

func (p *Proxy) tellRelease(site string, release routing.Release) {
	strange := strangeness(release)
	outdated := 0.0
	if strange != "" {
		outdated = 1
		p.log.Warn("the list of endpoints does not fit Synapse", "site", site, "release", release.String(), "detail", strange)
	} else {
		p.log.Info("Synapse tells its release", "site", site, "release", release.String())
	}
	p.metrics.outdated.WithLabelValues(site).Set(outdated)
}
