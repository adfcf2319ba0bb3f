package configs

// unsupported refuses a key that this version knows and cannot honour yet. It
// is refused rather than ignored: who writes a limit relies on it.
func (s spot) unsupported(hint string) {
	if s.written() {
		s.fail("not supported yet", hint)
	}
}

// checkSupported refuses what is laid out and does not work yet.
func (c *Config) checkSupported(at spot) {
	at.key("tcp").unsupported("remove it")
	for _, role := range c.Entrypoints.all() {
		if role.entrypoint.ProxyProtocol {
			at.key("entrypoints").key(role.name).key("proxy_protocol").unsupported("write false, or remove it")
		}
	}
}
