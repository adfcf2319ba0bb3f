//go:build integration

package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// buildah builds images without a daemon, with storage of its own.
type buildah struct {
	directory string
}

func (b buildah) run(arguments ...string) (string, error) {
	common := []string{"--root", filepath.Join(b.directory, "root"), "--runroot", filepath.Join(b.directory, "run"), "--storage-driver", "vfs"}
	child := exec.Command("buildah", append(common, arguments...)...)
	child.Env = append(os.Environ(), "TMPDIR="+b.directory)
	var complaints bytes.Buffer
	child.Stderr = &complaints
	output, err := child.Output()
	if err != nil {
		return "", fmt.Errorf("buildah %s: %w:\n%s%s", strings.Join(arguments, " "), err, output, complaints.String())
	}
	return strings.TrimSpace(string(output)), nil
}

// base makes the image that stands in for the Go one of the Dockerfile, which
// no registry can be asked for: a shell and a few tools of busybox. The compiler
// and the module cache are this machine's, mounted while the build runs.
func (b buildah) base(name, busybox string) error {
	tools := filepath.Join(b.directory, "base", "bin")
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return err
	}
	if err := command("cp", busybox, filepath.Join(tools, "busybox")); err != nil {
		return err
	}
	for _, applet := range []string{"sh", "mkdir", "cp"} {
		if err := os.Symlink("busybox", filepath.Join(tools, applet)); err != nil {
			return err
		}
	}
	working, err := b.run("from", "scratch")
	if err != nil {
		return err
	}
	for _, arguments := range [][]string{
		{"copy", "--quiet", working, filepath.Dir(tools), "/"},
		{"config", "--env", "PATH=/usr/local/go/bin:/bin", "--env", "HOME=/tmp",
			"--env", "GOMODCACHE=/modules", "--env", "GOCACHE=/cache", "--env", "GOTOOLCHAIN=local", working},
		{"commit", "--quiet", "--rm", working, name},
	} {
		if _, err := b.run(arguments...); err != nil {
			return err
		}
	}
	return nil
}

// build runs the Dockerfile of this checkout on two bases that need no registry.
func (b buildah) build(name, base string) error {
	toolchain, err := goEnv("GOROOT", "GOMODCACHE", "GOCACHE")
	if err != nil {
		return err
	}
	_, err = b.run("bud", "--isolation", "chroot", "--format", "docker", "--tag", name,
		"--volume", toolchain[0]+":/usr/local/go:ro", "--volume", toolchain[1]+":/modules:ro", "--volume", toolchain[2]+":/cache",
		"--build-arg", "BUILD_IMAGE="+base, "--build-arg", "RUN_IMAGE=scratch", "--build-arg", "GOPROXY=off",
		"--build-arg", "VERSION=laboratory", root())
	return err
}

// goEnv asks the compiler for its settings.
func goEnv(names ...string) ([]string, error) {
	output, err := exec.Command("go", append([]string{"env"}, names...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	values := strings.Split(strings.TrimSuffix(string(output), "\n"), "\n")
	if len(values) != len(names) {
		return nil, fmt.Errorf("go env has %d lines for %d names", len(values), len(names))
	}
	return values, nil
}

// mount makes a container's files out of an image and reads how it is to be run.
func (b buildah) mount(name string) (*container, error) {
	working, err := b.run("from", name)
	if err != nil {
		return nil, err
	}
	rootfs, err := b.run("mount", working)
	if err != nil {
		return nil, err
	}
	text, err := b.run("inspect", "--type", "image", name)
	if err != nil {
		return nil, err
	}
	var inspected struct {
		Docker struct {
			Config struct {
				User                 string
				Entrypoint, Cmd, Env []string
				Healthcheck          struct{ Test []string }
			} `json:"config"`
		}
	}
	if err := json.Unmarshal([]byte(text), &inspected); err != nil {
		return nil, fmt.Errorf("reading what buildah says of the image: %w", err)
	}
	config := inspected.Docker.Config
	if len(config.Healthcheck.Test) < 2 || config.Healthcheck.Test[0] != "CMD" {
		return nil, fmt.Errorf("the image's health check is %q", config.Healthcheck.Test)
	}
	user, err := parseUser(config.User)
	return &container{rootfs, config.Entrypoint, config.Cmd, config.Healthcheck.Test[1:], config.Env, user}, err
}
