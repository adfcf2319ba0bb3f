package acme

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"vestibule/configs"
)

// The files of a name, as matrix-docker-ansible-deploy's traefik-certs-dumper
// writes them and its coturn and LiveKit read them.
const (
	exportedCertificate = "certificate.crt"
	exportedKey         = "privatekey.key"
	// exportPending holds both while they are written, and is all that is needed
	// to finish after a crash.
	exportPending = ".vestibule-pending"
)

// exporter writes certificates for other programs.
type exporter struct {
	mu      sync.Mutex // one writer at a time
	config  *configs.Export
	problem string // told last
}

func (x *exporter) set(config *configs.Export) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.config = config
}

// pair is what is written for a name. It is also the content of exportPending.
type pair struct {
	Certificate []byte `json:"certificate"`
	Key         []byte `json:"key"`
}

// Export writes what certificates.export names, as is done of itself whenever a
// certificate changes. It returns the files that were written; those that hold
// the right thing already are left alone.
func (m *Manager) Export() ([]string, error) {
	m.export.mu.Lock()
	defer m.export.mu.Unlock()
	if m.export.config == nil {
		return nil, errors.New("certificates.export: is not configured")
	}
	return m.exportAll(m.ctx, *m.export.config)
}

// ExportTo is Export to another place. Names that nobody manages here are looked
// for in the storage; without names, all that are managed are written.
func (m *Manager) ExportTo(ctx context.Context, config configs.Export) ([]string, error) {
	if len(config.Names) == 0 {
		config.Names = slices.Sorted(maps.Keys(m.current.Load().names))
	}
	m.export.mu.Lock()
	defer m.export.mu.Unlock()
	return m.exportAll(ctx, config)
}

// exportChanged exports, and tells of a problem once.
func (m *Manager) exportChanged() {
	m.export.mu.Lock()
	defer m.export.mu.Unlock()
	if m.export.config == nil {
		return
	}
	config := *m.export.config
	config.Names = slices.DeleteFunc(slices.Clone(config.Names), func(name string) bool {
		certificate, _ := m.lookup(canonical(name), nil)
		return certificate == nil // not obtained yet, which is told elsewhere
	})
	written, err := m.exportAll(m.ctx, config)
	if len(written) > 0 {
		m.log.Info("certificates exported", "files", written)
	}
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem != "" && problem != m.export.problem {
		m.log.Error("certificates not exported", "error", err)
	}
	m.export.problem = problem
}

func (m *Manager) exportAll(ctx context.Context, config configs.Export) (written []string, err error) {
	target, err := newTarget(config)
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, name := range config.Names {
		files, err := m.exportName(ctx, target, canonical(name))
		written = append(written, files...)
		if err != nil {
			problems = append(problems, fmt.Errorf("exporting the certificate of %s: %w", name, err))
		}
	}
	return written, errors.Join(problems...)
}

func (m *Manager) exportName(ctx context.Context, target target, name string) ([]string, error) {
	certificate, err := m.exportable(ctx, name)
	if err != nil {
		return nil, err
	}
	encoded, err := encodePair(certificate)
	if err != nil {
		return nil, err
	}
	return target.put(strings.Replace(name, "*", "wildcard_", 1), encoded)
}

// exportable is the certificate of a name: what is served, else what is stored.
func (m *Manager) exportable(ctx context.Context, name string) (*tls.Certificate, error) {
	if certificate, _ := m.lookup(name, nil); certificate != nil {
		return certificate, nil
	}
	if m.magic == nil {
		return nil, errors.New("no certificate file covers it")
	}
	stored, err := m.magic.CacheManagedCertificate(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("there is none yet")
	}
	return &stored.Certificate, err
}

func encodePair(certificate *tls.Certificate) (pair, error) {
	var p pair
	for _, der := range certificate.Certificate {
		p.Certificate = append(p.Certificate, encodeCertificate(der)...)
	}
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		return pair{}, err
	}
	p.Key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	return p, nil
}

// target is where certificates are written, and as whose.
type target struct {
	directory string
	mode      fs.FileMode
	uid, gid  int // -1: as it is
}

// defaultExportMode lets the group read, and nobody else: there are keys.
const defaultExportMode = 0o640

func newTarget(config configs.Export) (target, error) {
	t := target{directory: config.Directory, mode: defaultExportMode, uid: -1, gid: -1}
	if config.Mode != "" {
		mode, err := strconv.ParseUint(config.Mode, 8, 9)
		if err != nil {
			return t, fmt.Errorf("certificates.export.mode: %q is not a mode such as \"0640\"", config.Mode)
		}
		t.mode = fs.FileMode(mode)
	}
	if config.Owner == "" {
		return t, nil
	}
	owner, group, _ := strings.Cut(config.Owner, ":")
	var err error
	if t.uid, err = userID(owner); err == nil && group != "" {
		t.gid, err = groupID(group)
	}
	if err != nil {
		return t, fmt.Errorf("certificates.export.owner: %w", err)
	}
	return t, nil
}

func userID(owner string) (int, error) {
	if id, err := strconv.Atoi(owner); err == nil {
		return id, nil
	}
	found, err := user.Lookup(owner)
	if err != nil {
		return -1, err
	}
	return strconv.Atoi(found.Uid)
}

func groupID(group string) (int, error) {
	if id, err := strconv.Atoi(group); err == nil {
		return id, nil
	}
	found, err := user.LookupGroup(group)
	if err != nil {
		return -1, err
	}
	return strconv.Atoi(found.Gid)
}

// put writes a name's files if they differ. They are written in place: containers
// mount single files, and would go on reading the old one after a rename. So that
// a crash half-way leaves no certificate with another's key, both are first
// written to a file beside them; as long as that is there, they are not finished.
func (t target) put(name string, p pair) ([]string, error) {
	directory := filepath.Join(t.directory, name)
	if err := t.makeDirectory(directory); err != nil {
		return nil, err
	}
	if err := t.finish(directory); err != nil {
		return nil, err
	}
	if t.same(filepath.Join(directory, exportedCertificate), p.Certificate) && t.same(filepath.Join(directory, exportedKey), p.Key) {
		return nil, nil
	}
	content, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	if err := replaceFile(filepath.Join(directory, exportPending), content); err != nil {
		return nil, err
	}
	return []string{filepath.Join(directory, exportedCertificate), filepath.Join(directory, exportedKey)}, t.finish(directory)
}

// makeDirectory lets those who may read the files enter.
func (t target) makeDirectory(directory string) error {
	if _, err := os.Stat(directory); err == nil {
		return nil
	}
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	mode := 0o700 | (t.mode&0o044)>>2 | t.mode&0o044
	return errors.Join(os.Chmod(directory, mode), t.chown(directory))
}

func (t target) chown(name string) error {
	if t.uid < 0 && t.gid < 0 {
		return nil
	}
	if err := os.Chown(name, t.uid, t.gid); err != nil {
		return fmt.Errorf("%w (hint: only root can give files away; remove certificates.export.owner, or run as that user)", err)
	}
	return nil
}

// finish writes what is pending, if anything is.
func (t target) finish(directory string) error {
	pending := filepath.Join(directory, exportPending)
	content, err := os.ReadFile(pending)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var p pair
	if err := json.Unmarshal(content, &p); err != nil {
		return fmt.Errorf("%s is damaged: %w (hint: delete it)", pending, err)
	}
	for _, file := range []struct {
		name    string
		content []byte
	}{{exportedKey, p.Key}, {exportedCertificate, p.Certificate}} {
		if err := t.overwrite(filepath.Join(directory, file.name), file.content); err != nil {
			return err
		}
	}
	return os.Remove(pending)
}

// overwrite gives a file its content, mode and owner, and keeps its inode. The old
// end is cut off last, so that a reader in between finds no empty file. Links are
// not followed: the directory may be somebody else's.
func (t target) overwrite(name string, content []byte) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW, t.mode)
	if errors.Is(err, fs.ErrPermission) && t.mode&0o200 == 0 && t.open(name) == nil {
		file, err = os.OpenFile(name, os.O_WRONLY|syscall.O_NOFOLLOW, 0)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Truncate(int64(len(content)))
	}
	err = errors.Join(err, file.Chmod(t.mode), file.Sync(), file.Close())
	if err == nil {
		err = t.chown(name)
	}
	return err
}

// open lets us write a file again whose mode closes it to its owner too, such as 0440.
func (t target) open(name string) error {
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	return errors.Join(file.Chmod(t.mode|0o200), file.Close())
}

// same tells whether a file is as it should be; its owner is looked at when it is
// written only.
func (t target) same(name string, content []byte) bool {
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != t.mode {
		return false
	}
	old, err := os.ReadFile(name)
	return err == nil && bytes.Equal(old, content)
}

// replaceFile writes a file whole or not at all, readable by nobody else.
func replaceFile(name string, content []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	_, err = temporary.Write(content)
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}
