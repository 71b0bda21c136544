//go:build interop

package e2e

import (
	"bytes"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/appliance/e2e/jvm"
	"github.com/headwater/headwater/appliance/process/processtest"
)

// Apache Kafka's own tools see a group, its member and how far it has read, reset
// its offsets once it is empty, and read its records out of the segments of
// __consumer_offsets.
func TestKafkaToolsOnGroups(t *testing.T) {
	t.Logf("Kafka %s", jvm.KafkaVersion)
	p := prepare(t, t.TempDir(), "HEADWATER_GROUPS_INITIAL_REBALANCE_DELAY=200ms")
	restart(t, p)
	produceText(t, p.Kafka, "readings", 10)
	cl := client(t, p.Kafka, kgo.ConsumerGroup("north"), kgo.ConsumeTopics("readings"), kgo.InstanceID("press1"), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond), kgo.ClientID("reader"))
	records := cl.PollRecords(within(t, patience), 7).Records()
	if len(records) != 7 {
		t.Fatalf("%d records, want 7", len(records))
	}
	if err := cl.CommitRecords(within(t, patience), records...); err != nil {
		t.Fatal(err)
	}
	groups := func(args ...string) string {
		return tool(t, "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", append([]string{"--bootstrap-server", p.Kafka}, args...)...)
	}
	says := func(what, out, pattern string) {
		t.Helper()
		if !regexp.MustCompile(pattern).MatchString(out) {
			t.Errorf("%s does not match %s:\n%s", what, pattern, processtest.LastLines(out, 20))
		}
	}
	says("list", groups("--list", "--state"), `north +Stable`)
	says("offsets", groups("--describe", "--group", "north"), `north +readings +0 +7 +10 +3 +press1-[0-9a-f-]+ +/127.0.0.1 +reader`)
	says("members", groups("--describe", "--group", "north", "--members", "--verbose"), `press1 +/127.0.0.1 +reader +1 .*\(0\)`)
	says("state", groups("--describe", "--group", "north", "--state"), `cooperative-sticky +Stable +1`)
	cl.Close() // a static member does not leave
	says("delete, with a member", groups("--delete", "--group", "north"), `GroupNotEmptyException`)

	simple := client(t, p.Kafka, kgo.ConsumerGroup("south"), kgo.ConsumeTopics("readings"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if simple.PollRecords(within(t, patience), 1).NumRecords() == 0 {
		t.Fatal("nothing is read")
	}
	simple.Close()
	says("reset", groups("--group", "south", "--topic", "readings", "--reset-offsets", "--to-offset", "4", "--execute"), `south +readings +0 +4`)
	if got := committed(t, p.Kafka, "south")[0]; got != 4 {
		t.Errorf("after the reset the offset is %d, want 4", got)
	}
	says("delete", groups("--delete", "--group", "south"), `successful`)
	stopWell(t, p)

	segment := filepath.Join(p.DataDir, "__consumer_offsets-0", "00000000000000000000.log")
	dump := tool(t, "kafka.tools.DumpLogSegments", "--offsets-decoder", "--files", segment)
	says("an offset", dump, `"group":"north","topic":"readings","partition":0.*"offset":7`)
	says("the group", dump, `"group":"north".*"protocolType":"consumer".*"groupInstanceId":"press1"`)
	says("a tombstone", dump, `"group":"south","topic":"readings","partition":0\}\} payload: (<DELETE>|null|$)`)
}

// tool runs one of Kafka's tools, and returns what it prints.
func tool(t *testing.T, class string, args ...string) string {
	t.Helper()
	cmd, err := jvm.Kafka(within(t, 5*patience), class, args...)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Logf("%s %v: %v", class, args, err) // --delete ends so when it is refused
	}
	return out.String()
}
