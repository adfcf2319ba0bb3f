package mastest

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"time"
)

// loginTokenLifetime is how long a client has to redeem a login token (MAS,
// compat/login.rs).
const loginTokenLifetime = 30 * time.Second

// login is a single sign-on under way: a client sends its user here, who comes
// back to it with a token that is good for one m.login.token.
type login struct {
	back  *url.URL
	user  *account // once the user has proven to be one
	token string
	done  time.Time
	used  bool
}

// redirectToLogin begins a login. MAS looks at no more of the URL than this
// (compat/login_sso_redirect.rs).
func (s *Server) redirectToLogin(w http.ResponseWriter, r *http.Request) {
	text := r.URL.Query().Get("redirectUrl")
	if text == "" {
		http.Error(w, "Missing redirectUrl", http.StatusBadRequest)
		return
	}
	back, err := url.Parse(text)
	if err != nil || !back.IsAbs() || back.User != nil || ((back.Scheme == "http" || back.Scheme == "https") && back.Host == "") {
		http.Error(w, "invalid redirectUrl", http.StatusBadRequest)
		return
	}
	id := random(26)
	s.mu.Lock()
	s.logins[id] = &login{back: back}
	s.mu.Unlock()
	w.Header().Set("Location", s.options.Public+"/complete-compat-sso/"+id)
	w.WriteHeader(http.StatusSeeOther)
}

const loginPage = `<!DOCTYPE html>
<title>Stand-in for MAS</title>
<form method="post">
<input name="username" autocomplete="username"> <input name="password" type="password">
<button>Continue to %s</button>
</form>
`

func (s *Server) showLogin(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	under := s.logins[r.PathValue("id")]
	s.mu.Unlock()
	if under == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, loginPage, html.EscapeString(under.back.Redacted()))
}

// completeLogin sends the user back with a login token.
func (s *Server) completeLogin(w http.ResponseWriter, r *http.Request) {
	user := s.authenticate(r.PostFormValue("username"), r.PostFormValue("password"))
	s.mu.Lock()
	defer s.mu.Unlock()
	under := s.logins[r.PathValue("id")]
	switch {
	case under == nil || under.user != nil:
		http.NotFound(w, r)
		return
	case user == nil:
		http.Error(w, "Invalid username/password", http.StatusForbidden)
		return
	}
	under.user, under.token, under.done = user, random(32), time.Now()
	back := *under.back
	query := back.Query()
	query.Set("loginToken", under.token)
	back.RawQuery = query.Encode()
	w.Header().Set("Location", back.String())
	w.WriteHeader(http.StatusSeeOther)
}

// redeem is the user whom a login token stands for. It works once.
func (s *Server) redeem(text string) (*account, *fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, under := range s.logins {
		if text == "" || under.token != text || under.used {
			continue
		}
		if time.Since(under.done) > loginTokenLifetime {
			return nil, &faultExpired
		}
		under.used = true
		return under.user, nil
	}
	return nil, &faultLoginToken
}

// index is the page of people, who would manage their account here.
func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, "<!DOCTYPE html>\n<title>Stand-in for MAS</title>\n<p>The accounts of %s.\n", html.EscapeString(s.options.ServerName))
}

func health(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }
