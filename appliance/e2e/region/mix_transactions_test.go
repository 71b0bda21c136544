//go:build interop

package region

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/appliance/e2e/region/cluster"
)

// Transactions between partitions of Kafka's brokers go on when one of headwater's is in
// their cluster, whichever is asked who coordinates them. What headwater leads they cannot
// write to, and are told so.
func TestMixedTransactions(t *testing.T) {
	c := startMixed(t, "3.9", cluster.Stock)
	a, b, own := c.Brokers[0].ID, c.Brokers[1].ID, c.Brokers[2]
	theirs := []int32{a, b}
	for _, topic := range []cluster.Topic{
		{Name: "__transaction_state", Assignment: map[int32][]int32{0: theirs, 1: theirs, 2: theirs, 3: theirs}, Settings: map[string]string{"cleanup.policy": "compact"}},
		{Name: "theirs", Assignment: map[int32][]int32{0: theirs}},
		{Name: "ours", Assignment: map[int32][]int32{0: {own.ID, a}}},
	} {
		if err := cluster.Create(within(t, patience), topic, c.Addresses()...); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []error{nil, nil, kerr.TransactionalIDAuthorizationFailed} {
		topic := "theirs"
		if want != nil {
			topic = "ours"
		}
		err := transact(t, own.Address, fmt.Sprint("writer", i), topic, i == 0)
		if !errors.Is(err, want) {
			t.Errorf("transaction %d, with %s: %v, want %v", i, topic, err, want)
		}
	}
	if got, want := readCommitted(t, own.Address, "theirs", 2), []string{"of writer0"}; !slices.Equal(got, want) {
		t.Errorf("read committed: %q, want %q", got, want)
	}
	if got := count(t, own.Address, "ours", 0); got != 0 {
		t.Errorf("%d records of a refused transaction are there", got)
	}
}

// transact writes a record in a transaction of its own, and commits that or aborts it. It
// asks one broker where everything is.
func transact(t *testing.T, address, id, topic string, commit bool) error {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.TransactionalID(id), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx := within(t, patience)
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	if err := cl.ProduceSync(ctx, kgo.StringRecord("of "+id)).FirstErr(); err != nil {
		return err
	}
	return cl.EndTransaction(ctx, kgo.TransactionEndTry(commit))
}

// readCommitted reads partition 0 until so many transactions have ended in it.
func readCommitted(t *testing.T, address, topic string, ended int) (values []string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(0)}}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for markers := 0; markers < ended; {
		fetches := cl.PollFetches(within(t, patience))
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for r := range fetches.RecordsAll() {
			if r.Attrs.IsControl() {
				markers++
				continue
			}
			values = append(values, string(r.Value))
		}
	}
	return values
}
