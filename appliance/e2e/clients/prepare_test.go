//go:build interop

package clients

import (
	"context"
	"os"
	"path/filepath"

	"github.com/headwater/headwater/appliance/e2e/install"
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
	for _, prepare := range []func(ctx context.Context, dir string) error{preparePython, prepareNode, prepareGo, prepareJava} {
		if err := prepare(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

func preparePython(ctx context.Context, _ string) error {
	interpreter, err := install.Python(ctx, "python/requirements.txt")
	pythonDriver = []string{interpreter, "python/driver.py"}
	return err
}

func prepareNode(ctx context.Context, _ string) error {
	at, err := install.Node(ctx, "node")
	if err == nil {
		err = install.Copy("node/driver.js", at)
	}
	nodeDriver = []string{"node", filepath.Join(at, "driver.js")}
	return err
}

func prepareGo(ctx context.Context, dir string) error {
	binary := filepath.Join(dir, "goclients")
	goDriver = []string{binary}
	return install.Run(ctx, "golang", "go", "build", "-o", binary, ".")
}

func prepareJava(ctx context.Context, dir string) error {
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
		if err := install.Run(ctx, "", "javac", "-nowarn", "-Xlint:none", "-d", classes, "-cp", jars, "java/Driver.java"); err != nil {
			return err
		}
		javaDrivers[version] = jvm.Command(ctx, classes+":"+jars, "Driver").Args
	}
	return nil
}
