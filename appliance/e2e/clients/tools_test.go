//go:build interop

package clients

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/jvm"
)

// Classes of Kafka's own tools, by the scripts that people know.
const (
	kafkaTopics           = "org.apache.kafka.tools.TopicCommand"
	kafkaConfigs          = "kafka.admin.ConfigCommand"
	kafkaGetOffsets       = "org.apache.kafka.tools.GetOffsetShell"
	kafkaDeleteRecords    = "org.apache.kafka.tools.DeleteRecordsCommand"
	kafkaConsumerGroups   = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
	kafkaProducerPerfTest = "org.apache.kafka.tools.ProducerPerformance"
	kafkaConsumerPerfTest = "org.apache.kafka.tools.ConsumerPerformance"
	kafkaVerifiableWriter = "org.apache.kafka.tools.VerifiableProducer"
	kafkaVerifiableReader = "org.apache.kafka.tools.VerifiableConsumer"
	kafkaConsoleConsumer  = "org.apache.kafka.tools.consumer.ConsoleConsumer"
	kafkaAPIVersions      = "kafka.admin.BrokerApiVersionsCommand"
	kafkaLogDirs          = "org.apache.kafka.tools.LogDirsCommand"
	kafkaLeaderElection   = "org.apache.kafka.tools.LeaderElectionCommand"
	kafkaReassign         = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
	kafkaTransactions     = "org.apache.kafka.tools.TransactionsCommand"
)

// tools run against one broker.
type tools struct {
	t       *testing.T
	brokers string
}

// run runs a tool, which must end well, and returns what it wrote.
func (k tools) run(class string, args ...string) string {
	k.t.Helper()
	out, err := k.try(class, args...)
	if err != nil {
		k.t.Fatalf("%s %s: %v\n%s", class, strings.Join(args, " "), err, out)
	}
	return out
}

func (k tools) try(class string, args ...string) (string, error) {
	k.t.Helper()
	if !slices.ContainsFunc(args, func(a string) bool {
		return a == "--bootstrap-server" || a == "--producer-props" || a == "--broker-list"
	}) {
		args = append([]string{"--bootstrap-server", k.brokers}, args...)
	}
	cmd, err := jvm.Kafka(within(k.t, patience), class, args...)
	if err != nil {
		k.t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

// wants fails the test unless text has all patterns.
func (k tools) wants(text string, patterns ...string) {
	k.t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile("(?m)" + p).MatchString(text) {
			k.t.Errorf("the tool's output lacks %q:\n%s", p, text)
		}
	}
}

func (k tools) file(text string) string {
	k.t.Helper()
	name := filepath.Join(k.t.TempDir(), "file.json")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
	return name
}

func newTools(t *testing.T) tools {
	t.Logf("Kafka's own tools: %s", jvm.KafkaVersion)
	return tools{t, start(t).Kafka}
}

// kafka-topics and kafka-configs make, show, change and delete topics.
func TestTopicTools(t *testing.T) {
	k := newTools(t)
	k.wants(k.run(kafkaAPIVersions), `Produce\(0\): .* to \d+`, `Fetch\(1\)`)
	k.run(kafkaTopics, "--create", "--topic", "press", "--partitions", "2", "--replication-factor", "1", "--config", "retention.ms=3600000")
	out, err := k.try(kafkaTopics, "--create", "--topic", "press", "--partitions", "2")
	if err == nil {
		t.Errorf("a topic was made twice:\n%s", out)
	}
	k.wants(out, "already exists")
	k.wants(k.run(kafkaTopics, "--describe", "--topic", "press"), `PartitionCount: 2`, `retention.ms=3600000`, `Partition: 1\s+Leader: \d+\s+Replicas: \d+\s+Isr: \d+`)
	k.run(kafkaTopics, "--alter", "--topic", "press", "--partitions", "4")
	k.run(kafkaConfigs, "--alter", "--entity-type", "topics", "--entity-name", "press", "--add-config", "retention.ms=7200000,segment.bytes=1048576")
	k.wants(k.run(kafkaConfigs, "--describe", "--entity-type", "topics", "--entity-name", "press"), `retention.ms=7200000`, `segment.bytes=1048576`)
	k.run(kafkaConfigs, "--alter", "--entity-type", "topics", "--entity-name", "press", "--delete-config", "segment.bytes")
	if out := k.run(kafkaConfigs, "--describe", "--entity-type", "topics", "--entity-name", "press"); strings.Contains(out, "segment.bytes=1048576") {
		t.Errorf("a setting that was deleted is still there:\n%s", out)
	}
	k.wants(k.run(kafkaConfigs, "--describe", "--all", "--entity-type", "brokers", "--entity-name", "1"), `log.retention.ms=|auto.create.topics.enable=`)
	k.wants(k.run(kafkaTopics, "--list"), `^press$`)
	k.wants(k.run(kafkaTopics, "--describe", "--topic", "press"), `PartitionCount: 4`)
	k.wants(k.run(kafkaLogDirs, "--describe", "--topic-list", "press"), `"partition":"press-3"`)
	if out, err := k.try(kafkaLeaderElection, "--election-type", "preferred", "--topic", "press", "--partition", "0"); err != nil {
		t.Errorf("leader election: %v\n%s", err, out)
	}
	k.wants(k.run(kafkaReassign, "--list"), "No partition reassignments found|Current partition reassignments")
	k.run(kafkaTopics, "--delete", "--topic", "press")
	if out := k.run(kafkaTopics, "--list"); strings.Contains(out, "press") {
		t.Errorf("a topic that was deleted is still there:\n%s", out)
	}
}

// The tools that read and write: offsets by time, deleted records, load.
func TestRecordTools(t *testing.T) {
	k := newTools(t)
	k.wants(k.run(kafkaProducerPerfTest, "--topic", "load", "--num-records", "5000", "--record-size", "200", "--throughput", "-1",
		"--producer-props", "bootstrap.servers="+k.brokers, "acks=all", "compression.type=lz4", "enable.idempotence=true"), `5000 records sent`)
	k.wants(k.run(kafkaGetOffsets, "--topic", "load", "--time", "-1"), `^load:0:5000$`)
	k.wants(k.run(kafkaGetOffsets, "--topic", "load", "--time", "-2"), `^load:0:0$`)
	k.wants(k.run(kafkaGetOffsets, "--topic", "load", "--time", "max-timestamp"), `^load:0:\d+$`)
	k.wants(k.run(kafkaConsumerPerfTest, "--topic", "load", "--messages", "5000", "--timeout", "30000"), `, 5000, `)
	k.run(kafkaDeleteRecords, "--offset-json-file", k.file(`{"partitions":[{"topic":"load","partition":0,"offset":1234}],"version":1}`))
	k.wants(k.run(kafkaGetOffsets, "--topic", "load", "--time", "earliest"), `^load:0:1234$`)
	k.wants(k.run(kafkaVerifiableWriter, "--topic", "verified", "--max-messages", "500", "--throughput", "-1"), `"sent":500,"name":"tool_data"|"acked":500`)
	k.wants(k.run(kafkaVerifiableReader, "--topic", "verified", "--group-id", "verifier", "--max-messages", "500"), `"name":"records_consumed","count"`)
	out := k.run(kafkaConsoleConsumer, "--topic", "verified", "--from-beginning", "--max-messages", "500", "--timeout-ms", "30000")
	if n := len(regexp.MustCompile(`(?m)^\d+$`).FindAllString(out, -1)); n != 500 {
		t.Errorf("the console consumer printed %d records, want 500", n)
	}
	k.wants(k.run(kafkaTransactions, "describe-producers", "--topic", "load", "--partition", "0"), `ProducerId`)
}

// kafka-consumer-groups shows a group's lag and sets its offsets in every way it
// has.
func TestGroupTool(t *testing.T) {
	k := newTools(t)
	topic := newTopic(t, k.brokers, 2)
	fill(t, k.brokers, topic, 2, "a", 50, fillCodecs[0])
	franz := all()[4]
	member := franz.launch(t, command{Do: "group", Brokers: k.brokers, Topic: topic, Group: "g", Session: groupSession})
	member.until("it has read all", func(told []event) bool { return len(values(told)) == 100 })
	committed := func(at ...int64) {
		t.Helper()
		eventually(t, fmt.Sprintf("%v is committed", at), func() bool {
			out := k.run(kafkaConsumerGroups, "--describe", "--group", "g")
			for p, offset := range at {
				if !regexp.MustCompile(fmt.Sprintf(`(?m)^g\s+%s\s+%d\s+%d\s+50\s+%d\s`, regexp.QuoteMeta(topic), p, offset, 50-offset)).MatchString(out) {
					t.Logf("%s", out)
					return false
				}
			}
			return true
		})
	}
	committed(50, 50)
	k.wants(k.run(kafkaConsumerGroups, "--list", "--state"), `^g\s+Stable`)
	k.wants(k.run(kafkaConsumerGroups, "--describe", "--group", "g", "--members", "--verbose"), `^g\s.*\s2\s+.*\(0,1\)`) // 3.9 leaves the topic out
	k.wants(k.run(kafkaConsumerGroups, "--describe", "--group", "g", "--state"), `Stable\s+1`)
	if out := k.run(kafkaConsumerGroups, "--group", "g", "--reset-offsets", "--to-earliest", "--topic", topic, "--execute"); !strings.Contains(out, "inactive") {
		t.Errorf("offsets of an active group were set:\n%s", out)
	}
	member.leave()

	reset := func(how ...string) string {
		t.Helper()
		return k.run(kafkaConsumerGroups, append([]string{"--group", "g", "--reset-offsets", "--execute", "--topic", topic}, how...)...)
	}
	reset("--to-earliest")
	committed(0, 0)
	reset("--to-latest")
	committed(50, 50)
	reset("--to-offset", "20")
	committed(20, 20)
	reset("--shift-by", "-5")
	committed(15, 15)
	reset("--to-datetime", time.UnixMilli(baseTime+30_000).UTC().Format("2006-01-02T15:04:05.000"))
	committed(30, 30)
	reset("--by-duration", "PT1H") // all records are older: to the end
	committed(50, 50)
	reset("--shift-by", "-10")
	plan := k.run(kafkaConsumerGroups, "--group", "g", "--reset-offsets", "--to-current", "--export", "--dry-run", "--topic", topic)
	k.wants(plan, `"?`+regexp.QuoteMeta(topic)+`"?,0,40`)
	out := k.run(kafkaConsumerGroups, "--group", "g", "--reset-offsets", "--execute", "--from-file", k.file(fmt.Sprintf("%s,0,7\n%s,1,8\n", topic, topic)))
	k.wants(out, `7`)
	committed(7, 8)
	k.wants(k.run(kafkaConsumerGroups, "--group", "g", "--delete-offsets", "--topic", topic), `Successful`)
	k.wants(k.run(kafkaConsumerGroups, "--delete", "--group", "g"), `Deletion of requested consumer groups \('g'\) was successful`)
	if out := k.run(kafkaConsumerGroups, "--list"); regexp.MustCompile(`(?m)^g$`).MatchString(out) {
		t.Errorf("a group that was deleted is still there:\n%s", out)
	}
}
