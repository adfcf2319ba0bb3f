package acme

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain plays a whole process with another user's rights when it is asked to.
func TestMain(m *testing.M) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		flag.Set("test.parallel", "16") // tests mostly wait
	}
	// Pebble neither sleeps at random, nor trusts what it has validated before, nor
	// rejects good nonces.
	os.Setenv("PEBBLE_VA_NOSLEEP", "1")
	os.Setenv("PEBBLE_AUTHZREUSE", "0")
	os.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	if task := os.Getenv(childVariable); task != "" {
		beChild(task)
	}
	if directory := os.Getenv("ACME_TEST_STORAGE"); directory != "" {
		opened, err := New(internalConfig(directory), slog.New(slog.DiscardHandler))
		if err != nil {
			fmt.Print(err)
			os.Exit(3)
		}
		opened.Close()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// nobody is a user id without any rights.
const nobody = 65534

// open runs New as a user that modes apply to, which they do not to root, and
// returns its error.
func open(t *testing.T, program, directory string) string {
	t.Helper()
	command := exec.Command(program)
	command.Env = append(os.Environ(), "ACME_TEST_STORAGE="+directory)
	if os.Getuid() == 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	problem, err := command.Output()
	if err != nil && command.ProcessState.ExitCode() != 3 {
		t.Fatal(err)
	}
	return string(problem)
}

// reachable is a directory that every user can enter, with a copy of the test
// program in it.
func reachable(t *testing.T) (directory, program string) {
	t.Helper()
	directory, err := os.MkdirTemp("", "vestibule-storage")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	program = filepath.Join(directory, "program")
	if err := os.Chmod(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	source, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	target, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(target, source); err != nil {
		t.Fatal(err)
	}
	if err := target.Close(); err != nil {
		t.Fatal(err)
	}
	return directory, program
}

func TestStorageWithoutRights(t *testing.T) {
	t.Parallel()
	directory, program := reachable(t)
	for name, mode := range map[string]os.FileMode{"unwritable": 0o500, "unreadable": 0o300, "closed": 0} {
		storage := filepath.Join(directory, name)
		own(t, storage, mode)
		problem := open(t, program, storage)
		if !strings.HasPrefix(problem, "certificates.storage.directory: using "+storage) ||
			!strings.Contains(problem, "permission denied") || !strings.Contains(problem, "(hint: vestibule runs as user ") {
			t.Errorf("%s: %q", name, problem)
		}
	}

	// What an earlier run of another user left behind.
	storage := filepath.Join(directory, "mixed")
	own(t, storage, 0o700)
	own(t, filepath.Join(storage, "certificates"), 0)
	if problem := open(t, program, storage); !strings.Contains(problem, filepath.Join(storage, "certificates")) {
		t.Errorf("mixed: %q", problem)
	}

	storage = filepath.Join(directory, "good")
	own(t, storage, 0o700)
	if problem := open(t, program, storage); problem != "" {
		t.Errorf("good: %q", problem)
	}
}

// own makes a directory of the user that open runs as.
func own(t *testing.T, directory string, mode os.FileMode) {
	t.Helper()
	if err := os.Mkdir(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(directory, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(directory, mode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(directory, 0o700) })
}

func TestRemedies(t *testing.T) {
	for cause, want := range map[error]string{
		syscall.EROFS:         " (hint: mount it read-write)",
		syscall.ENOSPC:        " (hint: free some space on its disk)",
		syscall.EDQUOT:        " (hint: free some space on its disk)",
		errors.New("strange"): "",
	} {
		err := storageProblem("/data", &os.PathError{Op: "write", Path: "/data/a", Err: cause})
		if got := err.Error(); got != "certificates.storage.directory: using /data: write /data/a: "+cause.Error()+want {
			t.Error(got)
		}
	}
}

func TestStorageIsAFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "file")
	write(t, name, nil)
	_, err := New(internalConfig(name), slog.New(slog.DiscardHandler))
	want := "certificates.storage.directory: using " + name + ": mkdir " + name + ": not a directory (hint: name a directory)"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

// TestLockLeftBehind: locks that a machine left behind when its power failed, or when its clock was ahead,
// keep no name waiting.
func TestLockLeftBehind(t *testing.T) {
	t.Parallel()
	ahead := time.Now().Add(365 * 24 * time.Hour).Format(time.RFC3339)
	for what, content := range map[string]string{
		"zeros":       strings.Repeat("\x00", 96),
		"cut off":     `{"created":"2026-01-01T00:`,
		"clock ahead": `{"created":"` + ahead + `","updated":"` + ahead + `"}` + "\n",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			directory := t.TempDir()
			if err := os.Mkdir(filepath.Join(directory, "locks"), 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(directory, "locks", "issue_cert_matrix.example.com.lock"), []byte(content))
			m := newTestManager(t, internalConfig(directory), brisk)
			defer func() {
				if t.Failed() {
					t.Logf("an operator reads: %+v", find(m, "matrix.example.com"))
				}
			}()
			m.Manage(t.Context(), []string{"matrix.example.com"})
			eventually(t, "it is obtained", func() bool { return m.Ready("matrix.example.com") })
		})
	}
}
