package zk

import (
	"testing"

	"github.com/go-zookeeper/zk"
)

// With ACLs, others read what is no secret and write nothing; consumers' offsets stay
// everyone's.
func testACL(t *testing.T, address string) {
	cfg := config(address)
	cfg.Digest, cfg.SetACL = "broker:secret", true
	s, _ := begin(t, cfg)
	if err := s.SetConfig(t.Context(), BrokerDefaults, map[string]string{"a": "1"}, NoVersion); err != nil {
		t.Fatal(err)
	}
	stranger, _ := begin(t, config(address)) // finds the standing nodes there
	if _, err := stranger.children(t.Context(), brokerTopicsPath, nil); err != nil {
		t.Error(err)
	}
	_, err := stranger.set(t.Context(), brokerTopicsPath, []byte("x"), anyVersion)
	wantError(t, err, zk.ErrNoAuth)
	wantError(t, stranger.RequestDeletion(t.Context(), "t"), zk.ErrNoAuth)
	_, _, err = stranger.Config(t.Context(), BrokerDefaults, nil)
	wantError(t, err, zk.ErrNoAuth)
	if err := stranger.create(t.Context(), consumersPath+"/g", nil); err != nil {
		t.Error(err)
	}
	colleague, _ := begin(t, cfg)
	if _, err := colleague.set(t.Context(), brokerTopicsPath, []byte("x"), anyVersion); err != nil {
		t.Error(err)
	}
}
