package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// Package is the command that is built.
const Package = "./appliance/cmd/headwater"

// Tags are the build tags of every binary that somebody runs. The Makefile and the
// Containerfile name them too.
const Tags = "nethttpomithttp2"

// ModuleRoot is the directory of go.mod, found upward from where the process
// runs.
func ModuleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		above := filepath.Dir(dir)
		if above == dir {
			return "", errors.New("no go.mod in this directory or above it")
		}
		dir = above
	}
}

// Build compiles headwater to the file out, with the Tags. env is added to the
// environment and args to the command: nil for a plain build.
func Build(ctx context.Context, out string, env, args []string) error {
	return BuildPackage(ctx, Package, out, env, append([]string{"-tags", Tags}, args...))
}

// BuildPackage compiles any command that the module knows, of its own or of one that
// it requires.
func BuildPackage(ctx context.Context, pkg, out string, env, args []string) error {
	root, err := ModuleRoot()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", out}, args...), pkg)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return nil
}
