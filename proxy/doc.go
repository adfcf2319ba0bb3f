// Package proxy carries a request to an upstream and its response back.
package proxy
