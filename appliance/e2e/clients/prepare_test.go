//go:build interop

package clients

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/headwater/headwater/appliance/e2e/jvm"
)

// javaVersions are the Java clients, oldest first: the one of the first Kafka whose
// protocol headwater speaks, the last of ZooKeeper's days, and one of today.
var javaVersions = []string{"2.8.2", "3.9.2", "4.1.1"}

// The commands that run the drivers; prepareDrivers sets them.
var (
	pythonDriver []string
	nodeDriver   []string
	goDriver     []string
	javaDrivers  = map[string][]string{} // by version
)

// prepareDrivers installs what the drivers need and builds those that are built,
// into dir. What was installed before is used again.
func prepareDrivers(ctx context.Context, dir string) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	cache = filepath.Join(cache, "headwater-interop")
	for _, prepare := range []func(ctx context.Context, cache, dir string) error{preparePython, prepareNode, prepareGo, prepareJava} {
		if err := prepare(ctx, cache, dir); err != nil {
			return err
		}
	}
	return nil
}

func preparePython(ctx context.Context, cache, _ string) error {
	venv, done, err := cached(cache, "python", "python/requirements.txt")
	if err == nil && !done {
		if err = run(ctx, "", "python3", "-m", "venv", venv); err == nil {
			err = run(ctx, "", filepath.Join(venv, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check", "-r", "python/requirements.txt")
		}
		err = finish(venv, err)
	}
	pythonDriver = []string{filepath.Join(venv, "bin", "python"), "python/driver.py"}
	return err
}

func prepareNode(ctx context.Context, cache, _ string) error {
	at, done, err := cached(cache, "node", "node/package-lock.json")
	if err == nil && !done {
		err = errors.Join(copyFile("node/package.json", at), copyFile("node/package-lock.json", at))
		if err == nil {
			err = run(ctx, at, "npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts")
		}
		err = finish(at, err)
	}
	// node looks for modules beside the program.
	err = errors.Join(err, copyFile("node/driver.js", at))
	nodeDriver = []string{"node", filepath.Join(at, "driver.js")}
	return err
}

func prepareGo(ctx context.Context, _, dir string) error {
	binary := filepath.Join(dir, "goclients")
	goDriver = []string{binary}
	return run(ctx, "golang", "go", "build", "-o", binary, ".")
}

func prepareJava(ctx context.Context, _, dir string) error {
	pom, err := os.ReadFile("java/pom.xml")
	if err != nil {
		return err
	}
	for _, version := range javaVersions {
		jars, err := jvm.ClassPath(ctx, pom, version)
		if err != nil {
			return err
		}
		classes := filepath.Join(dir, "java-"+version)
		if err := run(ctx, "", "javac", "-nowarn", "-Xlint:none", "-d", classes, "-cp", jars, "java/Driver.java"); err != nil {
			return err
		}
		javaDrivers[version] = jvm.Command(ctx, classes+":"+jars, "Driver").Args
	}
	return nil
}

// cached returns the directory for what is installed as the file pins says, and
// whether that was done before.
func cached(cache, name, pins string) (dir string, done bool, err error) {
	text, err := os.ReadFile(pins)
	if err != nil {
		return "", false, err
	}
	dir = filepath.Join(cache, fmt.Sprintf("%s-%x", name, sha256.Sum256(text))[:len(name)+13])
	if _, err = os.Stat(filepath.Join(dir, "complete")); err == nil {
		return dir, true, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", false, err
	}
	if err := os.RemoveAll(dir); err != nil { // of an installation that was cut short
		return "", false, err
	}
	return dir, false, os.MkdirAll(dir, 0o755)
}

// finish notes that dir is complete, unless err says otherwise.
func finish(dir string, err error) error {
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "complete"), nil, 0o644)
}

func copyFile(from, dir string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, filepath.Base(from)), text, 0o644)
}

func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out.String())
	}
	return nil
}
