package mastest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// open lets pages of any origin read the answers, and answers their preflights
// itself, whatever the path wants.
func open(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Vary", "origin, access-control-request-method, access-control-request-headers")
		if r.Method == http.MethodOptions {
			w.Header().Set("Access-Control-Allow-Methods", "*")
			w.Header().Set("Access-Control-Allow-Headers", "authorization,accept,accept-language,content-language,content-type,x-requested-with")
			w.Header().Set("Access-Control-Max-Age", "3600")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// byMethod answers 405 to methods that are not listed; HEAD is a GET.
func byMethod(methods map[string]http.HandlerFunc) http.Handler {
	var allowed []string
	for method := range methods {
		allowed = append(allowed, method)
	}
	slices.Sort(allowed)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if handle := methods[method]; handle != nil {
			handle(w, r)
			return
		}
		w.Header().Set("Allow", strings.Join(allowed, ","))
		w.WriteHeader(http.StatusMethodNotAllowed)
	})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) // fails only when the client is gone
}

// fault is an error as clients of Matrix know it.
type fault struct {
	status  int
	Errcode string `json:"errcode"`
	Message string `json:"error"`
}

func (f fault) write(w http.ResponseWriter) { writeJSON(w, f.status, f) }

var (
	faultNotJSON    = fault{http.StatusBadRequest, "M_NOT_JSON", "Body is not a valid JSON document"}
	faultLoginType  = fault{http.StatusBadRequest, "M_UNRECOGNIZED", "Invalid login type"}
	faultPassword   = fault{http.StatusForbidden, "M_FORBIDDEN", "Invalid username/password"}
	faultLoginToken = fault{http.StatusForbidden, "M_FORBIDDEN", "Invalid login token"}
	faultExpired    = fault{http.StatusForbidden, "M_FORBIDDEN", "Login token expired"}
	faultRefresh    = fault{http.StatusUnauthorized, "M_UNKNOWN_TOKEN", "Invalid refresh token"}
	faultNoToken    = fault{http.StatusUnauthorized, "M_MISSING_TOKEN", "Missing access token"}
	faultToken      = fault{http.StatusUnauthorized, "M_UNKNOWN_TOKEN", "Invalid access token"}
	faultLogoutAll  = fault{http.StatusNotFound, "M_UNRECOGNIZED", "The /logout/all endpoint is not supported by this deployment"}
	faultInternal   = fault{http.StatusInternalServerError, "M_UNKNOWN", "Internal server error"}
)
