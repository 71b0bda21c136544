// Package jvm gets Java programs of others for the tests that run them: it has
// Maven fetch what a pom names, once for each user of the machine, and says how to
// start it. It starts nothing but Maven, Kafka's own tools, and a Broker when told to.
package jvm

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// KafkaVersion is that of Kafka's own tools.
const KafkaVersion = "3.9.2"

//go:embed pom.xml
var kafkaPOM []byte

// Kafka returns the command that runs one of Kafka's own tools, by its class, in a
// virtual machine that starts fast.
func Kafka(ctx context.Context, class string, args ...string) (*exec.Cmd, error) {
	jars, err := ClassPath(ctx, kafkaPOM, KafkaVersion)
	if err != nil {
		return nil, err
	}
	return Command(ctx, jars, class, args...), nil
}

// Kafka's own tools, by their classes.
const (
	Topics              = "org.apache.kafka.tools.TopicCommand"
	ReassignPartitions  = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
	LeaderElection      = "org.apache.kafka.tools.LeaderElectionCommand"
	ConsumerGroups      = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
	LogDirs             = "org.apache.kafka.tools.LogDirsCommand"
	ProducerPerformance = "org.apache.kafka.tools.ProducerPerformance"
	ConsumerPerformance = "org.apache.kafka.tools.ConsumerPerformance"
	EndToEndLatency     = "org.apache.kafka.tools.EndToEndLatency"
	Configs             = "kafka.admin.ConfigCommand"
	DumpLogSegments     = "kafka.tools.DumpLogSegments"
	ZooKeeperShell      = "org.apache.zookeeper.ZooKeeperMain"
)

// Run runs one of the tools, and returns what it prints.
func Run(ctx context.Context, class string, args ...string) (string, error) {
	cmd, err := Kafka(ctx, class, args...)
	if err != nil {
		return "", err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w\n%s", class, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Command runs a class from a class path.
func Command(ctx context.Context, classPath, class string, args ...string) *exec.Cmd {
	quick := []string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp", classPath, class}
	return exec.CommandContext(ctx, "java", append(quick, args...)...)
}

// resolving lets one goroutine at a time call Maven: the others find what it fetched.
var resolving sync.Mutex

// ClassPath returns the class path of what pom depends on, with its property
// kafka.version as given. What Maven fetched before is used again.
func ClassPath(ctx context.Context, pom []byte, kafkaVersion string) (string, error) {
	resolving.Lock()
	defer resolving.Unlock()
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append([]byte(kafkaVersion+"\n"), pom...))
	dir := filepath.Join(cache, "headwater-interop", fmt.Sprintf("java-%x", sum[:6]))
	list := filepath.Join(dir, "classpath")
	text, err := os.ReadFile(list)
	if errors.Is(err, fs.ErrNotExist) {
		if err = resolve(ctx, dir, list, pom, kafkaVersion); err == nil {
			text, err = os.ReadFile(list)
		}
	}
	if err != nil {
		return "", fmt.Errorf("class path of Kafka %s: %w", kafkaVersion, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// resolve has Maven write the class path to list. The file gets its name when it
// is whole, so that it is whole whenever it is there.
func resolve(ctx context.Context, dir, list string, pom []byte, kafkaVersion string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file := filepath.Join(dir, "pom.xml")
	if err := os.WriteFile(file, pom, 0o644); err != nil {
		return err
	}
	whole := fmt.Sprintf("%s.%d", list, os.Getpid())
	cmd := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", file, "dependency:build-classpath",
		"-Dkafka.version="+kafkaVersion, "-Dmdep.outputFile="+whole)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out.String())
	}
	return os.Rename(whole, list)
}
