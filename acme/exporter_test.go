package acme

import (
	"crypto/tls"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"vestibule/configs"
)

// exported is what a reader of the files gets.
func exported(t *testing.T, directory, name string) tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(directory, name, exportedCertificate), filepath.Join(directory, name, exportedKey))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func inode(t *testing.T, name string) uint64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

// Single files are mounted into containers, so their inodes stay for ever.
func TestExport(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	cfg := internalConfig(t.TempDir())
	cfg.Certificates.Export = &configs.Export{Directory: directory, Names: []string{"matrix.example.com", "*.example.net"}, Mode: "0604"}
	m := newTestManager(t, cfg, brisk)
	manage(t, m, "matrix.example.com", "*.example.net", "other.example.com")
	certificate := filepath.Join(directory, "matrix.example.com", exportedCertificate)
	key := filepath.Join(directory, "matrix.example.com", exportedKey)
	for _, name := range []string{certificate, key, filepath.Join(directory, "wildcard_.example.net", exportedKey)} {
		eventually(t, name+" is written", func() bool { _, err := os.Stat(name); return err == nil })
	}
	eventually(t, "nothing is pending", func() bool { return len(pending(directory)) == 0 })
	before := exported(t, directory, "matrix.example.com")
	if serial := before.Leaf.SerialNumber.Text(16); serial != find(m, "matrix.example.com").Serial {
		t.Errorf("serial %s", serial)
	}
	if _, err := os.Stat(filepath.Join(directory, "other.example.com")); err == nil {
		t.Error("a name that was not asked for is exported")
	}
	inodes := []uint64{inode(t, certificate), inode(t, key)}
	info, err := os.Stat(key)
	if err != nil || info.Mode().Perm() != 0o604 {
		t.Errorf("%v %v", info.Mode(), err)
	}

	if written, err := m.Export(); err != nil || len(written) != 0 {
		t.Errorf("written again though nothing changed: %q %v", written, err)
	}
	if err := m.Renew(t.Context(), "matrix.example.com"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Export(); err != nil {
		t.Fatal(err)
	}
	after := exported(t, directory, "matrix.example.com")
	if after.Leaf.SerialNumber.Cmp(before.Leaf.SerialNumber) == 0 {
		t.Error("the renewed certificate is not exported")
	}
	if !slices.Equal(inodes, []uint64{inode(t, certificate), inode(t, key)}) {
		t.Error("the files were replaced")
	}
}

func pending(directory string) []string {
	left, _ := filepath.Glob(filepath.Join(directory, "*", exportPending+"*"))
	return left
}

// Whatever a crash leaves is finished: here the key is new, and the certificate is
// old, longer, and torn.
func TestExportAfterCrash(t *testing.T) {
	t.Parallel()
	place := target{directory: t.TempDir(), mode: 0o600, uid: -1, gid: -1}
	first, second := mint(t, tomorrow, "matrix.example.com", "a-longer-name.example.com"), mint(t, tomorrow, "matrix.example.com")
	if _, err := place.put("matrix.example.com", pair{first.certificate, first.key}); err != nil {
		t.Fatal(err)
	}
	directory := filepath.Join(place.directory, "matrix.example.com")
	content, err := json.Marshal(pair{second.certificate, second.key})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(directory, exportPending), content)
	write(t, filepath.Join(directory, exportedKey), second.key)
	torn := append(second.certificate[:100:100], first.certificate[100:]...)
	write(t, filepath.Join(directory, exportedCertificate), torn)
	if written, err := place.put("matrix.example.com", pair{second.certificate, second.key}); err != nil || len(written) != 0 {
		t.Errorf("%q %v", written, err)
	}
	if got := exported(t, place.directory, "matrix.example.com").Leaf.SerialNumber.Text(16); got != second.serial {
		t.Errorf("serial %s, want %s", got, second.serial)
	}
	if left := pending(place.directory); len(left) != 0 {
		t.Errorf("left %q", left)
	}
	write(t, filepath.Join(directory, exportPending), []byte("{"))
	if _, err := place.put("matrix.example.com", pair{second.certificate, second.key}); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("%v", err)
	}
}

func TestExportTo(t *testing.T) {
	t.Parallel()
	cfg := internalConfig(t.TempDir())
	first := newTestManager(t, cfg, brisk)
	manage(t, first, "matrix.example.com")
	serial := find(first, "matrix.example.com").Serial
	first.Close()
	second := newTestManager(t, cfg, brisk) // manages nothing, as a command does
	directory := t.TempDir()
	written, err := second.ExportTo(t.Context(), configs.Export{Directory: directory, Names: []string{"matrix.example.com", "none.example.com"}})
	if len(written) != 2 || err == nil || err.Error() != "exporting the certificate of none.example.com: there is none yet" {
		t.Errorf("%q %v", written, err)
	}
	if got := exported(t, directory, "matrix.example.com").Leaf.SerialNumber.Text(16); got != serial {
		t.Errorf("serial %s, want %s", got, serial)
	}
	if _, err := second.Export(); err == nil || err.Error() != "certificates.export: is not configured" {
		t.Errorf("%v", err)
	}
}

func TestExportOwner(t *testing.T) {
	t.Parallel()
	for owner, want := range map[string]target{
		"991:992":   {uid: 991, gid: 992},
		"991":       {uid: 991, gid: -1},
		"root:root": {uid: 0, gid: 0},
	} {
		got, err := newTarget(configs.Export{Owner: owner})
		if err != nil || got.uid != want.uid || got.gid != want.gid || got.mode != 0o640 {
			t.Errorf("%s: %+v %v", owner, got, err)
		}
	}
	for want, export := range map[string]configs.Export{
		`certificates.export.mode: "rw" is not a mode`:          {Mode: "rw"},
		"certificates.export.owner: user: unknown user nobody2": {Owner: "nobody2:root"},
	} {
		if _, err := newTarget(export); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v", err)
		}
	}
	if os.Getuid() != 0 {
		return
	}
	place, err := newTarget(configs.Export{Directory: t.TempDir(), Owner: "991:992"})
	if err != nil {
		t.Fatal(err)
	}
	c := mint(t, tomorrow, "a.example.com")
	if _, err := place.put("a.example.com", pair{c.certificate, c.key}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", exportedCertificate, exportedKey} {
		info, err := os.Stat(filepath.Join(place.directory, "a.example.com", name))
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 991 || owner.Gid != 992 {
			t.Errorf("%q is of %d:%d", name, owner.Uid, owner.Gid)
		}
		if name == "" && info.Mode().Perm() != 0o750 {
			t.Errorf("directory %v", info.Mode())
		}
	}
}

// Whoever may write into the directory must not lead us to other files.
func TestExportFollowsNoLink(t *testing.T) {
	t.Parallel()
	place := target{directory: t.TempDir(), mode: 0o600, uid: -1, gid: -1}
	elsewhere := filepath.Join(t.TempDir(), "passwd")
	write(t, elsewhere, []byte("precious"))
	if err := os.Mkdir(filepath.Join(place.directory, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(place.directory, "a", exportedKey)); err != nil {
		t.Fatal(err)
	}
	c := mint(t, tomorrow, "a")
	_, err := place.put("a", pair{c.certificate, c.key})
	if content, _ := os.ReadFile(elsewhere); err == nil || string(content) != "precious" {
		t.Errorf("%v, %q", err, content)
	}
}

// A problem is told once, and gone when it is.
func TestExportProblem(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	directory := filepath.Join(t.TempDir(), "file")
	write(t, directory, nil)
	w.cfg.Certificates.Export = &configs.Export{Directory: directory, Names: []string{host}}
	m := w.start(t)
	obtained(t, m, host)
	eventually(t, "it is told", func() bool { return w.log.has(`msg="certificates not exported"`) })
	if err := os.Remove(directory); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is exported", func() bool { return w.log.has(`msg="certificates exported"`) })
	if n := strings.Count(w.log.String(), `msg="certificates not exported"`); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// TestExportReadOnlyMode: an export of a mode that its owner may only read is renewed as well.
func TestExportReadOnlyMode(t *testing.T) {
	t.Parallel()
	directory, err := os.MkdirTemp("", "vestibule-export")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	root := os.Getuid() == 0
	if root {
		if err := os.Chown(directory, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its rights
		if root {
			syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0)
		}
		target := target{directory: directory, mode: 0o440, uid: -1, gid: -1}
		var err error
		for _, content := range []string{"old", "new"} {
			if err == nil {
				_, err = target.put("matrix.example.com", pair{[]byte(content), []byte(content)})
			}
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	name := filepath.Join(directory, "matrix.example.com", exportedKey)
	info, err := os.Stat(name)
	content, _ := os.ReadFile(name)
	if err != nil || info.Mode().Perm() != 0o440 || string(content) != "new" {
		t.Errorf("%v, %q, %v", info.Mode(), content, err)
	}
}
