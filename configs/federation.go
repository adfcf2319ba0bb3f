package configs

// decodeFrom reads "all", "none" or a list of server names.
func (p *FederationPolicy) decodeFrom(at spot) {
	*p = FederationPolicy{}
	if at.node.kind == listNode {
		p.Servers = make([]string, 0, len(at.node.items))
		for i := range at.node.items {
			item := at.index(i)
			name, ok := item.text()
			if !ok {
				item.reject("expected a server name", "")
			}
			p.Servers = append(p.Servers, name)
		}
		return
	}
	switch word, _ := at.text(); word {
	case "all":
		p.All = true
	case "none":
	default:
		at.reject("expected all, none or a list of server names", "")
		p.All = true
	}
}

func (f *Federation) check(at spot) {
	at.key("host").valid(f.Host, hostMistake)
	at.key("port").inRange(f.Port, 1, 65535)
	if with := at.key("with"); with.written() && !f.With.All {
		with.fail("not supported yet", "write all, and let Synapse's federation_domain_whitelist decide")
	}
	at.key("delegation").oneOf(f.Delegation, "well_known", "srv", "none")
	if f.OpenID != "auto" {
		at.key("openid").unsupported("write auto, or remove the key")
	}
}
