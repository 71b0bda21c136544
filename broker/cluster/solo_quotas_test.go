package cluster

import (
	"errors"
	"testing"

	"github.com/headwater/headwater/broker/quota"
)

// What clients may have is the snapshot's once AlterQuotas has returned, and after a
// restart; what was not saved, or only tried, is not.
func TestSoloAlterQuotas(t *testing.T) {
	store, host := &memStore{}, newMemHost()
	s := withPress(t, store, host)
	press := quota.Entity{ClientID: "press \"7\" ✓"}
	want := &quota.Table{Default: quota.Rates{0, 9}, Clients: map[string]quota.Rates{press.ClientID: {5, 6}}}
	check := func(when string, s *Solo, want *quota.Table) {
		t.Helper()
		if got := s.Snapshot().Quotas; got == nil || !got.Equal(want) {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
	}
	check("at first", s, nil)
	changes := []quota.Change{
		{Entity: press, Kind: quota.Produce, Rate: 5},
		{Entity: press, Kind: quota.Fetch, Rate: 6},
		{Entity: quota.Entity{Default: true}, Kind: quota.Fetch, Rate: 9},
	}
	if err := s.AlterQuotas(t.Context(), changes, true); err != nil {
		t.Fatal(err)
	}
	check("only validated", s, nil)

	saves := store.saves
	store.failAt = saves + 1
	if err := s.AlterQuotas(t.Context(), changes, false); !errors.Is(err, errCut) {
		t.Errorf("not saved: %v, want %v", err, errCut)
	}
	check("not saved", s, nil)
	if err := s.AlterQuotas(t.Context(), changes, false); err != nil {
		t.Fatal(err)
	}
	check("changed", s, want)
	check("restarted", startSolo(t, store, host), want)

	saves = store.saves
	if err := s.AlterQuotas(t.Context(), changes, false); err != nil || store.saves != saves {
		t.Errorf("the same once more: %v, and %d saves", err, store.saves-saves)
	}
	bad := []quota.Change{{Entity: press, Kind: quota.Fetch, Rate: 7}, {Entity: press, Kind: quota.Fetch, Rate: -1}}
	if err := s.AlterQuotas(t.Context(), bad, false); !errors.Is(err, quota.ErrInvalid) {
		t.Errorf("a bad one: %v", err)
	}
	check("after a bad one", s, want)
	if _, err := s.CreateTopic(t.Context(), NewTopic{Name: "oven", Partitions: 1, ReplicationFactor: 1}); err != nil {
		t.Fatal(err)
	}
	check("beside other changes", s, want)
	if err := s.AlterQuotas(t.Context(), []quota.Change{{Entity: press, Kind: quota.Produce}, {Entity: press, Kind: quota.Fetch}, {Entity: quota.Entity{Default: true}, Kind: quota.Fetch}}, false); err != nil {
		t.Fatal(err)
	}
	check("taken away", startSolo(t, store, host), nil)
}

// Rates that this headwater does not know are left out.
func TestSoloQuotasOfAnother(t *testing.T) {
	q := soloQuotas{Default: map[string]int64{"consumer_byte_rate": -4}, Clients: map[string]map[string]int64{
		"press": {"producer_byte_rate": 5, "request_percentage": 50}, "oven": {"request_percentage": 50},
	}}
	if got, want := q.table(), (&quota.Table{Clients: map[string]quota.Rates{"press": {5, 0}}}); !got.Equal(want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
