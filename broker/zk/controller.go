package zk

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
)

// controllerJSON is /controller, version 2.
type controllerJSON struct {
	Version    int32  `json:"version"`
	BrokerID   int32  `json:"brokerid"`
	Timestamp  string `json:"timestamp"` // Unix milliseconds
	KRaftEpoch int32  `json:"kraftControllerEpoch"`
}

func encodeController(brokerID int32, now time.Time) []byte {
	return encode(controllerJSON{2, brokerID, millis(now), -1})
}

// decodeController reads whatever version: all have the broker's id. One of KRaft's
// controllers says so by its epoch.
func decodeController(data []byte) (brokerID int32, err error) {
	j := controllerJSON{BrokerID: -1, KRaftEpoch: -1}
	if err := decode(controllerPath, data, &j); err != nil {
		return 0, err
	}
	if j.KRaftEpoch >= 0 {
		return 0, fmt.Errorf("controller %d: %w", j.BrokerID, ErrMigrating)
	}
	if j.BrokerID < 0 {
		return 0, malformed(controllerPath, "no broker id")
	}
	return j.BrokerID, nil
}

// Controller returns the broker that is the controller, if one is. What an earlier
// session of this broker was is nobody's: the node stays until that session ends, which
// may take long, and Elect removes it.
func (s *Session) Controller(ctx context.Context, w *Watch) (brokerID int32, ok bool, err error) {
	n, found, err := s.find(ctx, controllerPath, w)
	if err != nil || !found || n.owner != s.ID() && s.own(n.owner) {
		return 0, false, err
	}
	brokerID, err = decodeController(n.data)
	return brokerID, err == nil, err
}

// Elect makes the broker the controller if there is none. Whoever loses watches
// Controller, and tries again when there is none.
func (s *Session) Elect(ctx context.Context, brokerID int32) (t *Term, won bool, err error) {
	there, found, err := s.find(ctx, controllerPath, nil)
	switch {
	case err != nil:
		return nil, false, err
	case found && s.own(there.owner): // of an earlier session, or won and not known: a term is begun anew
		if err := s.remove(ctx, controllerPath, there.version); err != nil && !isBadVersion(err) {
			return nil, false, err
		}
	case found:
		_, err := decodeController(there.data)
		return nil, false, err
	}
	epoch, version, err := s.controllerEpoch(ctx)
	if err != nil {
		return nil, false, err
	}
	if epoch == math.MaxInt32 {
		return nil, false, malformed(controllerEpochPath, "no epoch is left")
	}
	won, err = s.elect(ctx, brokerID, epoch+1, version)
	if err != nil || !won {
		return nil, false, err
	}
	return newTerm(s, epoch+1, version+1), true, nil
}

// elect takes the office and counts the epoch in one transaction.
func (s *Session) elect(ctx context.Context, brokerID, epoch, version int32) (won bool, err error) {
	text := []byte(strconv.Itoa(int(epoch)))
	_, err = s.multi(ctx, "create "+controllerPath, []any{
		&zk.CreateRequest{
			Path: s.at(controllerPath), Data: encodeController(brokerID, time.Now()),
			Acl: s.acl(controllerPath), Flags: zk.FlagEphemeral,
		},
		&zk.SetDataRequest{Path: s.at(controllerEpochPath), Data: text, Version: version},
	}, func(ctx context.Context) ([]zk.MultiResponse, bool, error) {
		n, found, err := s.find(ctx, controllerPath, nil)
		if err != nil || !found || n.owner != s.ID() {
			return nil, false, err
		}
		_, counted, err := s.isNow(ctx, controllerEpochPath, text, version)
		return nil, counted, err
	})
	if isNodeExists(err) || isBadVersion(err) { // someone was quicker
		return false, nil
	}
	return err == nil, err
}

// controllerEpoch reads the epoch of the last controller, and the node's version. The
// first controller finds 0.
func (s *Session) controllerEpoch(ctx context.Context) (epoch, version int32, err error) {
	n, found, err := s.find(ctx, controllerEpochPath, nil)
	if err == nil && !found {
		if err := s.create(ctx, controllerEpochPath, []byte("0")); err != nil && !isNodeExists(err) {
			return 0, 0, err
		}
		n, err = s.get(ctx, controllerEpochPath, nil)
	}
	if err != nil {
		return 0, 0, err
	}
	v, err := strconv.ParseInt(strings.TrimSpace(string(n.data)), 10, 32)
	if err != nil || v < 0 {
		return 0, 0, malformed(controllerEpochPath, fmt.Sprintf("epoch %q", n.data))
	}
	return int32(v), n.version, nil
}
