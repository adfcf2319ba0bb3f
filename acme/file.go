package acme

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"vestibule/configs"
)

// maxFileSize bounds what is read as a certificate or a key, in bytes; a path
// such as /dev/zero has no end.
const maxFileSize = 1 << 20

// file is a certificate from a pair of the operator's files. It is never
// changed once it is in a fileSet.
type file struct {
	source configs.CertificateFile
	sum    [sha256.Size]byte // of both files
	pair   *tls.Certificate
	names  []string
	// problem is why the files as they are now are not served, "" if they are.
	problem string
}

// loadFile reads a pair and checks that it can be served. Expiry is not looked
// at. The error names the file and the reason.
func loadFile(source configs.CertificateFile) (*file, error) {
	certificate, err := readBounded(source.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := readBounded(source.Key)
	if err != nil {
		return nil, err
	}
	f := &file{source: source, sum: sha256.Sum256(slices.Concat(certificate, []byte{0}, key))}
	if err := checkPEM(source, certificate, key); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w (hint: the server's own certificate comes first in the file, "+
			"and the key must be the one it was made for)", source.Certificate, source.Key, err)
	}
	f.pair = &pair
	for _, name := range pair.Leaf.DNSNames {
		f.names = append(f.names, canonical(name))
	}
	for _, address := range pair.Leaf.IPAddresses {
		f.names = append(f.names, canonical(address.String()))
	}
	if len(f.names) == 0 {
		return nil, fmt.Errorf("certificate %s: names no host in subjectAltName, which is all that clients look at", source.Certificate)
	}
	return f, nil
}

func readBounded(name string) ([]byte, error) {
	opened, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	content, err := io.ReadAll(io.LimitReader(opened, maxFileSize+1))
	if err == nil && len(content) > maxFileSize {
		err = fmt.Errorf("%s: larger than a megabyte, so neither a certificate nor a key", name)
	}
	return content, err
}

// checkPEM finds the mistakes that deserve more than tls.X509KeyPair's words.
func checkPEM(source configs.CertificateFile, certificate, key []byte) error {
	if block, _ := pem.Decode(certificate); block == nil {
		return fmt.Errorf("certificate %s: not PEM (hint: openssl x509 -inform der -in FILE turns DER into PEM)", source.Certificate)
	}
	block, _ := pem.Decode(key)
	if block == nil {
		return fmt.Errorf("key %s: not PEM (hint: openssl pkey -inform der -in FILE turns DER into PEM)", source.Key)
	}
	if strings.Contains(block.Type, "ENCRYPTED") || bytes.Contains(key, []byte("Proc-Type: 4,ENCRYPTED")) {
		return fmt.Errorf("key %s: protected by a passphrase (hint: openssl pkey -in FILE -out PLAIN takes it away)", source.Key)
	}
	return nil
}

func (f *file) expired() bool { return time.Now().After(f.pair.Leaf.NotAfter) }

// again reads the pair anew. A bad pair, or an expired one that would replace
// one still valid, gives the old certificate with its problem.
func (f *file) again() *file {
	next, err := loadFile(f.source)
	switch {
	case err == nil && next.sum == f.sum && f.problem == "":
		return f
	case err == nil && next.expired() && !f.expired():
		err = fmt.Errorf("certificate %s: expired on %s", f.source.Certificate, next.pair.Leaf.NotAfter.Format(time.RFC3339))
	case err == nil:
		return next
	}
	if err.Error() == f.problem {
		return f
	}
	kept := *f
	kept.problem = err.Error()
	return &kept
}

// fileSet is the certificates from files. It is replaced as a whole.
type fileSet struct {
	files  []*file
	byName map[string][]*file
}

// loadFiles reads every pair and reports all that are bad at once. Expired ones
// are served, with a warning: a browser's complaint says more than no answer.
func loadFiles(sources []configs.CertificateFile, log *slog.Logger) (fileSet, error) {
	var files []*file
	var problems []error
	for i, source := range sources {
		f, err := loadFile(source)
		if err != nil {
			problems = append(problems, fmt.Errorf("certificates.files[%d]: %w", i, err))
			continue
		}
		if f.expired() {
			log.Warn("certificate file has expired", "file", source.Certificate, "not_after", f.pair.Leaf.NotAfter)
		}
		files = append(files, f)
	}
	return newFileSet(files), errors.Join(problems...)
}

func newFileSet(files []*file) fileSet {
	set := fileSet{files: files, byName: map[string][]*file{}}
	for _, f := range files {
		for _, name := range f.names {
			set.byName[name] = append(set.byName[name], f)
		}
	}
	return set
}

// refresh reads the files again; changed is false when all are as they were.
func (s fileSet) refresh(log *slog.Logger) (next fileSet, changed bool) {
	files := make([]*file, len(s.files))
	for i, old := range s.files {
		files[i] = old.again()
		if files[i] == old {
			continue
		}
		changed = true
		files[i].report(log)
	}
	if !changed {
		return s, false
	}
	return newFileSet(files), true
}

func (f *file) report(log *slog.Logger) {
	if f.problem != "" {
		log.Error("certificate file not taken over, the previous one is served on", "file", f.source.Certificate, "error", f.problem)
		return
	}
	log.Info("certificate file taken over", "file", f.source.Certificate, "names", f.names, "not_after", f.pair.Leaf.NotAfter)
}

// matching are the files that hold for a name: by the exact name, else by a
// wildcard.
func (s fileSet) matching(name string) []*file {
	if exact := s.byName[name]; len(exact) > 0 {
		return exact
	}
	return s.byName[wildcard(name)]
}

func (s fileSet) covers(name string) bool { return len(s.matching(name)) > 0 }

// pick chooses among the files that hold for a name: one that has not expired
// before one that has, then one the client can use (RSA and ECDSA may stand side
// by side), then the first. Without a hello every client is meant.
func (s fileSet) pick(name string, hello *tls.ClientHelloInfo) *file {
	var best *file
	score := -1
	for _, f := range s.matching(name) {
		points := 0
		if !f.expired() {
			points += 2
		}
		if hello == nil || hello.SupportsCertificate(f.pair) == nil {
			points++
		}
		if points > score {
			best, score = f, points
		}
	}
	return best
}
