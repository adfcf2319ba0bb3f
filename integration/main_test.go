//go:build integration

package integration

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// TestMain runs the tests inside a network namespace: the program starts itself
// again there, and whatever happens to that second one, the first tidies up.
func TestMain(m *testing.M) {
	if name := os.Getenv(namespaceEnv); name != "" {
		os.Exit(inside(m, namespace{name: name}))
	}
	os.Exit(outside())
}

// outside makes the namespace, runs this program in it and removes it again.
// After a failure the logs stay until the next run.
func outside() int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the laboratory needs root: it makes a network namespace")
		return 1
	}
	n, err := newNamespace()
	if err != nil {
		fmt.Fprintln(os.Stderr, "making the laboratory's namespace:", err)
		return 1
	}
	status, err := n.run()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	if status == 0 {
		err = os.RemoveAll(n.directory())
	} else {
		fmt.Fprintf(os.Stderr, "the logs are in %s/log until the next run\n", n.directory())
	}
	if err := errors.Join(err, n.remove()); err != nil {
		fmt.Fprintln(os.Stderr, "removing the laboratory:", err)
	}
	return status
}

// inside starts the laboratory, runs the tests and stops it.
func inside(m *testing.M, n namespace) (status int) {
	var err error
	lab, err = startLaboratory(n.directory())
	defer func() {
		if err := lab.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the laboratory:", err)
			status = 1
		}
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the laboratory:", err)
		return 1
	}
	status = m.Run()
	lab.step("compared %d requests with Synapse's own logs", lab.compared)
	lab.step("memory: %s", describeMemory())
	return status
}
