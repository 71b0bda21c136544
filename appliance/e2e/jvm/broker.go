package jvm

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/headwater/headwater/appliance/process"
)

// Broker is a stock Kafka broker in ZooKeeper mode, as a process of its own. It keeps its
// directory and its settings over a restart.
type Broker struct {
	// ID is its broker.id.
	ID int32
	// Listen is the address that it takes, Advertise the one that others dial.
	Listen, Advertise string
	// ZooKeeper is the connect string.
	ZooKeeper string
	// Dir holds its log directory and server.properties.
	Dir string
	// Protocol is the inter.broker.protocol.version; "" is the newest.
	Protocol string
	// Settings go into server.properties, over what stands there by itself.
	Settings map[string]string
	// Prefix are words before the command: those of a program that runs it.
	Prefix []string
	// HeapMiB is the size of its heap; 0 is 256.
	HeapMiB int
	// Version is Kafka's; "" is KafkaVersion.
	Version string

	process.Program
}

// LogDir is its log.dirs.
func (b *Broker) LogDir() string { return filepath.Join(b.Dir, "logs") }

// Start starts the broker, and does not wait.
func (b *Broker) Start(ctx context.Context) error {
	jars, err := ClassPath(ctx, serverPOM(), cmp.Or(b.Version, KafkaVersion))
	if err != nil {
		return err
	}
	file := filepath.Join(b.Dir, "server.properties")
	if err := os.MkdirAll(b.LogDir(), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(b.properties()), 0o644); err != nil {
		return err
	}
	heap := b.HeapMiB
	if heap == 0 {
		heap = 256
	}
	words := append(slices.Clone(b.Prefix), "java", fmt.Sprintf("-Xmx%dm", heap), fmt.Sprintf("-Xms%dm", heap), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
		"-cp", jars, "kafka.Kafka", file)
	if heap > 256 { // who wants more heap wants Kafka's own choice of the compiler and the collector too
		words = slices.DeleteFunc(words, func(w string) bool { return strings.HasPrefix(w, "-XX:") })
	}
	return b.Launch(exec.Command(words[0], words[1:]...))
}

// properties are those of a broker whose cluster is small, and notices soon what fails.
func (b *Broker) properties() string {
	settings := map[string]string{
		"broker.id":                                fmt.Sprint(b.ID),
		"zookeeper.connect":                        b.ZooKeeper,
		"zookeeper.session.timeout.ms":             "4000",
		"zookeeper.connection.timeout.ms":          "60000",
		"listeners":                                "PLAINTEXT://" + b.Listen,
		"advertised.listeners":                     "PLAINTEXT://" + b.Advertise,
		"log.dirs":                                 b.LogDir(),
		"num.network.threads":                      "2",
		"num.io.threads":                           "4",
		"background.threads":                       "2",
		"log.cleaner.dedupe.buffer.size":           fmt.Sprint(4 << 20),
		"auto.create.topics.enable":                "false",
		"min.insync.replicas":                      "2",
		"default.replication.factor":               "3",
		"offsets.topic.replication.factor":         "3",
		"offsets.topic.num.partitions":             "4",
		"transaction.state.log.replication.factor": "3",
		"transaction.state.log.num.partitions":     "4",
		"transaction.state.log.min.isr":            "2",
		"group.initial.rebalance.delay.ms":         "0",
		"replica.lag.time.max.ms":                  "4000",
		"controlled.shutdown.retry.backoff.ms":     "500", // the last one to stop finds nobody to take over
	}
	if b.Protocol != "" {
		settings["inter.broker.protocol.version"] = b.Protocol
	}
	maps.Copy(settings, b.Settings)
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s=%s\n", key, settings[key])
	}
	return text.String()
}

// serverPOM is the tools' class path, with a log that is written.
func serverPOM() []byte {
	return bytes.ReplaceAll(kafkaPOM, []byte("slf4j-nop"), []byte("slf4j-simple"))
}
