// Package install gets the clients of others that the end-to-end tests run headwater
// against: Python and Node packages and Go programs, each pinned by a file or a
// version. It serves tests alone.
//
// What is installed goes into the user's cache directory, under a name that changes
// with the pins, and stays there for the next run. One process at a time installs.
package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// Python installs what a requirements file pins, and returns the interpreter that
// sees it.
func Python(ctx context.Context, requirements string) (interpreter string, err error) {
	at, err := once("python", []string{requirements}, nil, func(at string) error {
		if err := Run(ctx, "", "python3", "-m", "venv", at); err != nil {
			return err
		}
		return Run(ctx, "", filepath.Join(at, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check", "-r", requirements)
	})
	return filepath.Join(at, "bin", "python"), err
}

// Node installs what the package-lock.json in dir pins, and returns the directory
// whose programs see it: node looks for modules beside the program.
func Node(ctx context.Context, dir string) (at string, err error) {
	manifest, lock := filepath.Join(dir, "package.json"), filepath.Join(dir, "package-lock.json")
	return once("node", []string{lock}, nil, func(at string) error {
		if err := errors.Join(Copy(manifest, at), Copy(lock, at)); err != nil {
			return err
		}
		return Run(ctx, at, "npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts")
	})
}

// Go builds the program of a Go package at a version, and returns its path.
func Go(ctx context.Context, pkg, version string) (binary string, err error) {
	name := path.Base(pkg)
	at, err := once(name, nil, []string{pkg, version}, func(at string) error {
		cmd := exec.CommandContext(ctx, "go", "install", pkg+"@"+version)
		cmd.Env = append(os.Environ(), "GOBIN="+at, "GOFLAGS=", "CGO_ENABLED=0")
		return run(cmd)
	})
	return filepath.Join(at, name), err
}

// once has do fill a directory of the cache, unless that was done for the same pins
// before: the contents of files, and words.
func once(name string, files, words []string, do func(at string) error) (at string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	pins := sha256.New()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		pins.Write(text)
	}
	for _, word := range words {
		fmt.Fprintf(pins, "%q", word)
	}
	at = filepath.Join(cache, "headwater-interop", fmt.Sprintf("%s-%.12x", name, pins.Sum(nil)))
	complete := filepath.Join(at, "complete")
	if _, err = os.Stat(complete); !errors.Is(err, fs.ErrNotExist) {
		return at, err
	}
	if err := os.RemoveAll(at); err != nil { // of an installation that was cut short
		return "", err
	}
	if err := os.MkdirAll(at, 0o755); err != nil {
		return "", err
	}
	if err := do(at); err != nil {
		return "", err
	}
	return at, os.WriteFile(complete, nil, 0o644)
}

// Copy puts a copy of a file into dir.
func Copy(from, dir string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, filepath.Base(from)), text, 0o644)
}

// Run runs a command in dir ("" for the working directory). Its error has what the
// command wrote.
func Run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	return run(cmd)
}

func run(cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out.String())
	}
	return nil
}
