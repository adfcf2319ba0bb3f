package routing

// String is the entrypoint's name in the configuration.
func (e Entrypoint) String() string {
	switch e {
	case HTTPS:
		return "https"
	case Federation:
		return "federation"
	case Internal:
		return "internal"
	}
	return "unknown"
}

// String is explain's word for the action.
func (a Action) String() string {
	switch a {
	case Proxy:
		return "proxy"
	case Local:
		return "local"
	case Redirect:
		return "redirect"
	case Refuse:
		return "refuse"
	}
	return "unknown"
}

// String is explain's word for the kind of key, "" for none.
func (k KeyKind) String() string {
	switch k {
	case KeyUser:
		return "user"
	case KeyToken:
		return "token"
	case KeyRoom:
		return "room"
	case KeyOrigin:
		return "origin"
	case KeyURI:
		return "uri"
	case KeyMedia:
		return "media"
	case KeyClient:
		return "client"
	}
	return ""
}

// String is the kind and the value, such as "user alice"; of a token only the
// kind, because it is secret; "" without a key.
func (k Key) String() string {
	switch k.Kind {
	case NoKey, KeyToken:
		return k.Kind.String()
	case KeyURI:
		return "uri" // it may hold an access token
	}
	return k.Kind.String() + " " + string(k.Value)
}
