package wellknown

import (
	"errors"
	"fmt"
	"net/url"
)

// checkSupport wants what /.well-known/matrix/support must have: contacts or a
// support page; of each contact a role and a way to reach it (client-server API,
// "GET /.well-known/matrix/support"). Roles are an open list, so any string is
// one.
func checkSupport(document object) error {
	if page, ok := document["support_page"]; ok {
		if err := checkPage(page); err != nil {
			return err
		}
	}
	contacts, listed := document["contacts"].([]any)
	if _, ok := document["contacts"]; ok && !listed {
		return errors.New("contacts is not a list")
	}
	if len(contacts) == 0 && document["support_page"] == nil {
		return errors.New("has neither contacts nor support_page (hint: add one of them, or remove well_known.support)")
	}
	for i, contact := range contacts {
		if err := checkContact(contact); err != nil {
			return fmt.Errorf("contacts[%d]: %w", i, err)
		}
	}
	return nil
}

func checkPage(page any) error {
	text, _ := page.(string)
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Hostname() == "" {
		return fmt.Errorf(`support_page: %q is not an absolute URL (hint: write it as "https://example.com/help")`, text)
	}
	return nil
}

func checkContact(value any) error {
	contact, _ := value.(object)
	if role, _ := contact["role"].(string); role == "" {
		return errors.New(`has no role (hint: "m.role.admin" or "m.role.security")`)
	}
	matrix, _ := contact["matrix_id"].(string)
	email, _ := contact["email_address"].(string)
	if matrix == "" && email == "" {
		return errors.New("has neither matrix_id nor email_address")
	}
	return nil
}
