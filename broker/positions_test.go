package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker"
	"github.com/headwater/headwater/broker/brokertest"
	"github.com/headwater/headwater/broker/group"
)

// tryCommit keeps a position in press-0.
func tryCommit(b *brokertest.Box, group string, offset int64, metadata string) error {
	done := make(chan error, 1)
	b.CommitPosition(group, "press", 0, offset, metadata, func(err error) { done <- err })
	return <-done
}

func commit(t *testing.T, b *brokertest.Box, group string, offset int64, metadata string) {
	t.Helper()
	if err := tryCommit(b, group, offset, metadata); err != nil {
		t.Fatal(err)
	}
}

func forget(b *brokertest.Box, group string) error {
	done := make(chan error, 1)
	b.ForgetPosition(group, "press", 0, func(err error) { done <- err })
	return <-done
}

func positions(t *testing.T, b *brokertest.Box, group string) (all []string) {
	t.Helper()
	if err := b.Positions(group, func(topic string, partition int32, offset int64, metadata string) {
		all = append(all, fmt.Sprintf("%s-%d:%d %s", topic, partition, offset, metadata))
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func groups(t *testing.T, b *brokertest.Box) (all []string) {
	t.Helper()
	if err := b.EachGroup(func(group string) bool { all = append(all, group); return true }); err != nil {
		t.Fatal(err)
	}
	return all
}

// Positions are a group's committed offsets: Kafka's tools see them, a restart keeps
// them, and a group that is left with none goes.
func TestPositions(t *testing.T) {
	cfg := brokertest.Config(t.TempDir())
	b := brokertest.Start(t, cfg)
	appendBatches(t, b, "press", batchOf(0, 1, 2))
	commit(t, b, "one", 1, "first")
	commit(t, b, "one", 2, "second")
	commit(t, b, "two", 3, "")

	part := kmsg.NewOffsetFetchRequestTopic()
	part.Topic, part.Partitions = "press", []int32{0}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group, req.Topics = "one", append(req.Topics, part)
	seen := ask(t, b, req).(*kmsg.OffsetFetchResponse)
	if g := seen.Topics; len(g) != 1 || g[0].Partitions[0].Offset != 2 || *g[0].Partitions[0].Metadata != "second" {
		t.Errorf("Kafka's clients see %+v, want offset 2 with \"second\"", g)
	}

	b.Stop(t)
	b = brokertest.Start(t, cfg)
	awaitGroups(t, b)
	if got, want := positions(t, b, "one"), []string{"press-0:2 second"}; !slices.Equal(got, want) {
		t.Errorf("after a restart: %q, want %q", got, want)
	}
	if got := positions(t, b, "three"); got != nil {
		t.Errorf("of a group that nobody knows: %q", got)
	}
	if got, want := groups(t, b), []string{"one", "two"}; !slices.Equal(got, want) {
		t.Errorf("groups %q, want %q", got, want)
	}
	for range 2 { // the second time there is nothing to forget
		if err := forget(b, "one"); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := groups(t, b), []string{"two"}; !slices.Equal(got, want) {
		t.Errorf("groups %q after one was forgotten, want %q", got, want)
	}
	b.Stop(t)
	b = brokertest.Start(t, cfg)
	awaitGroups(t, b)
	if got, want := groups(t, b), []string{"two"}; !slices.Equal(got, want) {
		t.Errorf("groups %q after another restart, want %q", got, want)
	}
}

// awaitGroups waits until the groups are loaded.
func awaitGroups(t *testing.T, b *brokertest.Box) {
	t.Helper()
	for {
		err := b.EachGroup(func(string) bool { return true })
		if err == nil {
			return
		}
		if !errors.Is(err, group.ErrLoading) || t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

// A position that is on its way to the log when it is to be forgotten does not come
// back.
func TestForgetPositionOnItsWay(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config(t.TempDir()))
	appendBatches(t, b, "press", batchOf(0, 1, 2))
	for i := range int64(20) {
		committed, forgotten := make(chan error, 1), make(chan error, 1)
		b.CommitPosition("one", "press", 0, i%3, "", func(err error) { committed <- err })
		b.ForgetPosition("one", "press", 0, func(err error) { forgotten <- err })
		if err := errors.Join(<-committed, <-forgotten); err != nil {
			t.Fatal(err)
		}
		if got := positions(t, b, "one"); got != nil {
			t.Fatalf("round %d: %q is still there", i, got)
		}
	}
}

// What cannot be kept is an error and changes nothing: above all, a group with
// members is theirs.
func TestPositionsRefused(t *testing.T) {
	b := brokertest.Start(t, groupConfig(t.TempDir()))
	appendBatches(t, b, "press", batchOf(0, 1, 2))
	c := join(t, b, "theirs")
	defer c.Close()
	c.await(t, "all partitions", func(partitions []int32) bool { return len(partitions) == 4 })

	for name, tc := range map[string]struct {
		group, metadata string
		want            error
	}{
		"members":  {"theirs", "", group.ErrUnknownMember},
		"metadata": {"one", strings.Repeat("x", 4097), group.ErrMetadataTooLarge},
		"noGroup":  {"", "", group.ErrInvalidID},
	} {
		if err := tryCommit(b, tc.group, 1, tc.metadata); !errors.Is(err, tc.want) {
			t.Errorf("%s: error %v, want %v", name, err, tc.want)
		}
	}
	if err := forget(b, "theirs"); !errors.Is(err, group.ErrNotEmpty) {
		t.Errorf("to forget a position of a group with members: error %v, want %v", err, group.ErrNotEmpty)
	}
	done := make(chan error, 1)
	b.CommitPosition("one", "pump", 0, 1, "", func(err error) { done <- err })
	if err := <-done; !errors.Is(err, broker.ErrUnknownPartition) {
		t.Errorf("of a topic that is not there: error %v, want %v", err, broker.ErrUnknownPartition)
	}
	if got := groups(t, b); got != nil {
		t.Errorf("groups %q were left behind", got)
	}
}
