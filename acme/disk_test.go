package acme

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// smallDisk mounts a file system of its own for the storage, where that is allowed.
func smallDisk(t *testing.T, w *world) string {
	t.Helper()
	directory := w.cfg.Certificates.Storage.Directory
	if err := os.MkdirAll(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", directory, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("mounting needs root: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(directory, syscall.MNT_DETACH) })
	return directory
}

// remount makes the disk read-only or writable.
func remount(t *testing.T, directory string, flags uintptr) {
	t.Helper()
	if err := syscall.Mount("", directory, "", syscall.MS_REMOUNT|flags, "size=2m"); err != nil {
		t.Fatal(err)
	}
}

func fill(t *testing.T, name string) {
	t.Helper()
	err := os.WriteFile(name, bytes.Repeat([]byte("x"), 4<<20), 0o600)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
}

// A certificate that cannot be kept is not ordered; as soon as there is space, it is.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	directory := smallDisk(t, w)
	m := w.start(t)
	obtained(t, m, host)
	m.Close()
	filler := filepath.Join(directory, "filler")
	fill(t, filler)

	again := w.start(t) // in spite of the full disk
	again.Manage(t.Context(), []string{host, "auth.example.org"})
	eventually(t, "what is stored is served", func() bool { return again.Ready(host) })
	c := reads(t, again, "auth.example.org",
		"certificates.storage.directory: using "+directory+": ", "no space left on device (hint: free some space on its disk)")
	if c.State != Failed || w.ca.ordered() != 1 {
		t.Errorf("%+v, %d orders", c, w.ca.ordered())
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it recovers", func() bool { return find(again, "auth.example.org").State == Valid })
}

// Nearly full is too full: an order that cannot be stored is counted.
func TestDiskNearlyFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	directory := smallDisk(t, w)
	m := w.start(t)
	write(t, filepath.Join(directory, "filler"), bytes.Repeat([]byte("x"), 3<<19))
	m.Manage(t.Context(), []string{host})
	reads(t, m, host, "no space left on device")
	if w.ca.ordered() != 0 {
		t.Error("it cost an order")
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	directory := smallDisk(t, w)
	m := w.start(t)
	obtained(t, m, host)
	m.Close()
	remount(t, directory, syscall.MS_RDONLY)

	again := w.start(t)
	again.Manage(t.Context(), []string{host, "auth.example.org"})
	eventually(t, "what is stored is served", func() bool { return again.Ready(host) })
	reads(t, again, "auth.example.org", "read-only file system (hint: mount it read-write)")
	if err := again.Renew(t.Context(), host); err == nil || !again.Ready(host) || w.ca.ordered() != 1 {
		t.Errorf("%v, %d orders", err, w.ca.ordered())
	}
	remount(t, directory, 0)
	eventually(t, "it recovers", func() bool { return find(again, "auth.example.org").State == Valid })
}

// A directory in the way of the storage stands for what mounts cannot show without
// root: a storage that breaks while running, and comes back.
func TestStorageBreaks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	directory := w.cfg.Certificates.Storage.Directory
	m := w.start(t)
	if err := os.Rename(directory, directory+".away"); err != nil {
		t.Fatal(err)
	}
	write(t, directory, nil)
	m.Manage(t.Context(), []string{host})
	reads(t, m, host, "certificates.storage.directory: using "+directory+": ", "not a directory (hint: name a directory)")
	if err := os.Remove(directory); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(directory+".away", directory); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it recovers", func() bool { return find(m, host).State == Valid })
	if w.ca.ordered() != 1 {
		t.Errorf("%d orders", w.ca.ordered())
	}
}
