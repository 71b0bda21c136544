//go:build interop

package region

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/region/cluster"
)

// rollsAsTold stops and starts the brokers in turn, each as soon as the one before says
// that it has caught up, as an operator is told to. The longest time without an ack must
// be below the limit. Then one that crashed starts while ZooKeeper does not answer: it is
// ready for its devices, and has not caught up before it is back in all ISRs.
func rollsAsTold(t *testing.T, c *cluster.Cluster, limit time.Duration) {
	t.Helper()
	const partitions = 4
	u := load(t, c, 1, partitions)
	for _, b := range c.Brokers {
		u.awaitMore(t, 300)
		if err := b.Stop(within(t, patience)); err != nil {
			t.Fatal(err)
		}
		if said, ok := health(t, b, "--caught-up"); ok {
			t.Errorf("%s has stopped, and says %q", b.Name(), said)
		}
		u.awaitMore(t, 300)
		if err := b.Start(within(t, patience)); err != nil {
			t.Fatal(err)
		}
		awaitCaughtUp(t, b, partitions)
	}
	if _, pause := u.recorder.Acked(); pause > limit {
		t.Errorf("for %v nothing was acked while brokers stopped in turn, want less than %v", pause, limit)
	}

	b, z := c.Brokers[0], c.ZooKeepers[0]
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := z.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	await(t, b.Name()+" to be ready", func() (bool, string) {
		said, ok := health(t, b)
		return ok, said
	})
	if said, ok := health(t, b, "--caught-up"); ok || !strings.Contains(said, "not registered with ZooKeeper") {
		t.Errorf("%s cannot reach ZooKeeper, and says %q", b.Name(), said)
	}
	if err := z.Thaw(); err != nil {
		t.Fatal(err)
	}
	awaitCaughtUp(t, b, partitions)
	if err := c.Recover(within(t, patience), trialTopic); err != nil {
		t.Fatal(err)
	}
	u.finish(t)
}

// awaitCaughtUp waits until a broker says that it has caught up. By then it has to be in
// the ISR of all partitions, each of which has a leader.
func awaitCaughtUp(t *testing.T, b *cluster.Broker, partitions int) {
	t.Helper()
	begin, waited := time.Now(), ""
	await(t, b.Name()+" to catch up", func() (bool, string) {
		said, ok := health(t, b, "--caught-up")
		if !ok {
			waited = said
		}
		return ok, said
	})
	t.Logf("%s has caught up after %v; before it said %q", b.Name(), time.Since(begin).Round(time.Millisecond), waited)
	state, err := cluster.Ask(t.Context(), b.Address)
	if err != nil {
		t.Fatal(err)
	}
	if known := len(state.Topics[trialTopic]); known != partitions {
		t.Errorf("%s has caught up, and knows %d partitions", b.Name(), known)
	}
	for index, p := range state.Topics[trialTopic] {
		if p.Leader < 0 || !slices.Contains(p.ISR, b.ID) {
			t.Errorf("%s has caught up, and partition %d is %+v", b.Name(), index, p)
		}
	}
}

// health is what headwater health says at a broker's machine; ok is that it exits with 0.
func health(t *testing.T, b *cluster.Broker, args ...string) (said string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	words := append(slices.Clone(b.Seat().Prefix()), headwater, "health")
	words = append(words, args...)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HEADWATER_ADMIN_LISTEN=" + b.Seat().Listen(8080)}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err == nil
}
