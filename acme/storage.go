package acme

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/caddyserver/certmagic"
)

// lockQuiet is how long the lock of a process at work cannot stay as it is: certmagic
// rewrites it every five seconds.
const lockQuiet = 12 * time.Second

// storage is certmagic's, and takes over locks that it would respect for ever: of a
// machine whose power failed while it wrote one, or whose clock was ahead.
type storage struct{ *certmagic.FileStorage }

func newStorage(directory string) storage {
	return storage{&certmagic.FileStorage{Path: directory}}
}

// Lock implements certmagic.Locker.
func (s storage) Lock(ctx context.Context, name string) error {
	s.unjam(ctx, name)
	return s.FileStorage.Lock(ctx, name)
}

// unjam removes a lock that tells no time, or one to come, unless somebody keeps it.
func (s storage) unjam(ctx context.Context, name string) {
	file := s.Filename("locks/" + certmagic.StorageKeys.Safe(name) + ".lock")
	before, err := os.ReadFile(file)
	if err != nil || !jammed(before) {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(lockQuiet):
	}
	if now, err := os.ReadFile(file); err == nil && bytes.Equal(now, before) {
		_ = os.Remove(file) // who cannot remove it cannot lock either, and says so
	}
}

// jammed tells whether certmagic would wait for a lock for ever. An empty one it
// takes over itself.
func jammed(lock []byte) bool {
	var note struct{ Updated time.Time }
	if err := json.Unmarshal(lock, &note); err != nil {
		return len(lock) > 0
	}
	return note.Updated.After(time.Now())
}

// openStorage makes sure that certificates can be kept in a directory, which is
// created with mode 0700 when it is missing.
func openStorage(directory string) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	if err := tryTree(directory); err != nil {
		return err
	}
	return tryFile(directory)
}

// tryTree opens all that is stored: what an earlier run as another user left
// behind is found now, and not when a certificate is due.
func tryTree(directory string) error {
	return filepath.WalkDir(directory, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			var opened *os.File
			if opened, err = os.Open(name); err == nil {
				err = opened.Close()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another process took it away meanwhile
		}
		return err
	})
}

// tryFile really writes, reads and deletes: modes do not tell of a full or
// read-only disk.
func tryFile(directory string) error {
	trial, err := os.CreateTemp(directory, ".trial-*")
	if err != nil {
		return err
	}
	written := bytes.Repeat([]byte("vestibule\n"), 1024) // as large as a certificate, its chain and its key
	_, err = trial.Write(written)
	if err = errors.Join(err, trial.Sync(), trial.Close()); err == nil {
		var read []byte
		read, err = os.ReadFile(trial.Name())
		if err == nil && !bytes.Equal(read, written) {
			err = errors.New("what is read is not what was written")
		}
	}
	return errors.Join(err, os.Remove(trial.Name()))
}

// storageProblem names the configuration key, the directory and, where one is
// known, the remedy.
func storageProblem(directory string, err error) error {
	f := newFault(remedy(directory, err), "certificates.storage.directory: using %s: %v", directory, err)
	f.cause = err
	return f
}

func remedy(directory string, err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		user, group := os.Getuid(), os.Getgid()
		return fmt.Sprintf("vestibule runs as user %d; as root, run: mkdir -p %s && chown -R %d:%d %s && chmod -R u+rwX %s",
			user, directory, user, group, directory, directory)
	case errors.Is(err, syscall.EROFS):
		return "mount it read-write"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free some space on its disk"
	case errors.Is(err, syscall.ENOTDIR):
		return "name a directory"
	}
	return ""
}

// readOnly tells whether a storage can be read, but nothing can be added.
func readOnly(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// unlock gives a lock of the storage back. What is left behind when that fails
// is taken over by the next process to want it, ten seconds later.
func unlock(storage certmagic.Storage, lock string, log *slog.Logger) {
	if err := storage.Unlock(context.Background(), lock); err != nil {
		log.Warn("lock not released", "lock", lock, "error", err)
	}
}

// exportRoot keeps the root certificate where operators and demos find it. It
// is replaced as a whole, since other programs may be reading it.
func exportRoot(directory string, root []byte) error {
	name := filepath.Join(directory, "root.pem")
	if old, err := os.ReadFile(name); err == nil && bytes.Equal(old, root) {
		return nil
	}
	temporary, err := os.CreateTemp(directory, ".root-*.pem")
	if err != nil {
		return fmt.Errorf("writing the internal CA's root: %w", err)
	}
	_, err = temporary.Write(root)
	err = errors.Join(err, temporary.Chmod(0o644), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("writing the internal CA's root: %w", errors.Join(err, os.Remove(temporary.Name())))
	}
	return nil
}
