package wellknown

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"vestibule/configs"
)

// client is the generated /.well-known/matrix/client (client-server API,
// "Server discovery"), with the keys today's clients read beside the
// specification's own.
func client(cfg *configs.Config, site *configs.Site) object {
	document := object{"m.homeserver": object{"base_url": publicURL(cfg, site.Host)}}
	if loginIsMAS(site) {
		document["org.matrix.msc2965.authentication"] = authentication(cfg, site)
	}
	if site.ElementCall != nil {
		document["org.matrix.msc4143.rtc_foci"] = foci(cfg, site)
	}
	if site.Ketesa != nil {
		document["cc.etke.ketesa"] = ketesa(cfg, site)
	}
	return document
}

// loginIsMAS is false during a migration: Synapse still logs people in, so
// clients must not be sent to MAS yet.
func loginIsMAS(site *configs.Site) bool {
	return site.MAS != nil && !site.MAS.Migrating
}

// authentication names the OpenID issuer, as MSC2965 had it before clients asked
// the homeserver's auth_metadata (Matrix 1.15); older ones read it still. The
// issuer must equal MAS's public_base, which ends in a slash.
func authentication(cfg *configs.Config, site *configs.Site) object {
	path := strings.Trim(site.MAS.Path, "/")
	issuer := publicURL(cfg, cmp.Or(site.MAS.Host, site.Host)) + "/"
	if path != "" {
		issuer += path + "/"
	}
	return object{"issuer": issuer, "account": issuer + "account/"}
}

// foci tells clients where calls are held (MSC4143). Element Call needs the list
// in this document even where the homeserver has the endpoint that is to replace
// it, so it stays until no released client reads it.
func foci(cfg *configs.Config, site *configs.Site) []any {
	return []any{object{
		"type":                "livekit",
		"livekit_service_url": publicURL(cfg, site.Host) + site.ElementCall.JWTPath,
	}}
}

// ketesa keeps the administration page on this homeserver and, where MAS owns
// the passwords, stops it from offering to change them (Ketesa's README,
// "Configuration").
func ketesa(cfg *configs.Config, site *configs.Site) object {
	document := object{"restrictBaseUrl": publicURL(cfg, site.Host)}
	if loginIsMAS(site) {
		document["externalAuthProvider"] = true
	}
	return document
}

// checkClient refuses what makes discovery end in FAIL_PROMPT or FAIL_ERROR:
// base_url is required and is a URL, and so is an identity server's when there
// is one (client-server API, "Well-known URIs", steps 3 to 5).
func checkClient(document object) error {
	if _, ok := document["m.homeserver"]; !ok {
		return errors.New("m.homeserver is missing, and clients cannot do without it (hint: it may not be null)")
	}
	for _, key := range []string{"m.homeserver", "m.identity_server"} {
		value, ok := document[key]
		if !ok {
			continue
		}
		server, _ := value.(object)
		if err := checkURL(server["base_url"]); err != nil {
			return fmt.Errorf("%s.base_url: %w", key, err)
		}
	}
	return nil
}

// checkURL wants an absolute http or https URL that a path can be put behind.
func checkURL(value any) error {
	text, ok := value.(string)
	if !ok {
		return errors.New(`is not a string (hint: write a URL such as "https://matrix.example.com")`)
	}
	parsed, err := url.Parse(text)
	switch {
	case err != nil, parsed.Scheme != "https" && parsed.Scheme != "http", parsed.Hostname() == "":
		return fmt.Errorf(`%q is not an absolute URL (hint: write it as "https://matrix.example.com")`, text)
	case parsed.RawQuery != "", parsed.Fragment != "", parsed.User != nil:
		return fmt.Errorf("%q has more than a scheme, a host, a port and a path", text)
	}
	return nil
}
