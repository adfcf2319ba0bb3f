package main

import "fmt"

// summary is a sentence on how it goes, for systemctl status.
func (s *service) summary() string {
	if s.server.Draining() {
		return "Stopping"
	}
	sites := len(s.proxy.Config().Sites)
	text := fmt.Sprintf("Serving %d sites", sites)
	if sites == 1 {
		text = "Serving 1 site"
	}
	if ok, reason := s.ready(""); !ok {
		text = "Not ready: " + reason
	}
	if s.failed.Load() {
		text += "; the last reload was not applied, `vestibule status` says why"
	}
	return text
}
