package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	if play := peers[filepath.Base(os.Args[0])]; play != nil {
		play(os.Args[1:])
		return
	}
	testscript.Main(tidy{m}, map[string]func(){"vestibule": main})
}

// peers are what this test does under another name, as a process of its own.
var peers = map[string]func(args []string){}

// builtDir is where tests have built the program; tidy removes it after them.
var builtDir string

type tidy struct{ *testing.M }

func (m tidy) Run() int {
	defer os.RemoveAll(builtDir)
	return m.M.Run()
}

// TestScripts runs the commands as a shell does. In a script $HTTPS, $FEDERATION,
// $HTTP and $ADMIN are free addresses, $BACKEND is the URL of a server that
// answers "backend", and base.yaml uses them all.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               setUpScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await":       await,
			"awaitmetric": awaitMetric,
		},
	})
}

const baseConfig = `control: %[1]s/control.sock
certificates: { issuer: internal, storage: { directory: %[1]s/storage } }
entrypoints:
  https: { addresses: [%[2]q] }
  federation: { addresses: [%[3]q] }
  http: { addresses: [%[4]q] }
  admin: { addresses: [%[5]q] }
sites:
  - server_name: example.com
    synapse: { main: %[6]q, hold: 0s }
`

func setUpScript(env *testscript.Env) error {
	var addresses [4]string
	for i, name := range []string{"HTTPS", "FEDERATION", "HTTP", "ADMIN"} {
		addresses[i] = freeAddress(env.T())
		env.Setenv(name, addresses[i])
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: sayName("backend"), ReadHeaderTimeout: time.Second}
	go srv.Serve(l) //nolint:errcheck // ends with Close
	env.Defer(func() { srv.Close() })
	env.Setenv("BACKEND", "http://"+l.Addr().String())
	a := addresses
	// Sockets have short paths, scripts long ones.
	dir, err := os.MkdirTemp("", "v")
	if err != nil {
		return err
	}
	env.Defer(func() { os.RemoveAll(dir) })
	env.Setenv("DIR", dir)
	text := fmt.Sprintf(baseConfig, dir, a[0], a[1], a[2], a[3], "http://"+l.Addr().String())
	return os.WriteFile(env.WorkDir+"/base.yaml", []byte(text), 0o600)
}

// await URL STATUS waits until a URL answers with a status.
func await(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: await URL STATUS")
	}
	var last string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(args[0])
		if err != nil {
			last = err.Error()
			continue
		}
		resp.Body.Close()
		if last = fmt.Sprint(resp.StatusCode); last == args[1] {
			return
		}
	}
	ts.Fatalf("%s answered %s, not %s", args[0], last, args[1])
}

// awaitmetric TEXT waits until a line of the metrics begins with a text.
func awaitMetric(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: awaitmetric TEXT")
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + ts.Getenv("ADMIN") + "/metrics")
		if err != nil {
			continue
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && strings.Contains("\n"+string(text), "\n"+args[0]) {
			return
		}
	}
	ts.Fatalf("no metric begins with %s", args[0])
}
