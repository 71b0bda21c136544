package zk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/headwater/headwater/broker/cluster"
)

func brokerPath(id int32) string { return brokerIDsPath + "/" + strconv.Itoa(int(id)) }

// Register makes the broker known for as long as the session lasts, and returns its
// epoch. What it registered before in this session is brought up to date. If another
// session holds the id, an earlier one of this broker gives way, if it is of this
// process or of where this broker listens; one of nobody we know
// may be ours from before a crash, and has two sessions' time to go: ZooKeeper ends it on
// a tick, which is up to half of one later, and in an ensemble hears of it by others.
// Then the error wraps ErrDuplicateID.
func (s *Session) Register(ctx context.Context, r cluster.Registration) (brokerEpoch int64, err error) {
	path, data := brokerPath(r.ID), encodeRegistration(r, time.Now())
	longest := 2 * s.Timeout()
	patience := time.NewTimer(longest)
	defer patience.Stop()
	w, changed := NewWatch()
	defer s.Unwatch(w)
	for {
		epoch, err := s.registerNew(ctx, path, data)
		if !isNodeExists(err) {
			return epoch, err
		}
		there, found, err := s.find(ctx, path, w)
		switch {
		case err != nil:
			return 0, err
		case !found:
			continue
		case there.owner == s.ID(): // from an earlier call
			return there.epoch, s.reregister(ctx, path, data, there)
		case s.lived(there.owner), s.own(there.owner) && samePlace(path, r, there):
			s.log.Info("registration of an earlier session removed", "broker", r.ID, "session", there.owner)
			if err := s.remove(ctx, path, there.version); err != nil && !isBadVersion(err) {
				return 0, err
			}
			continue
		}
		s.log.Warn("another session has the broker id; waiting for it to end", "broker", r.ID, "session", there.owner, "longest", longest)
		select {
		case <-changed:
		case <-patience.C:
			return 0, duplicate(path, r.ID, there)
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-s.ctx.Done():
			return 0, s.over()
		}
	}
}

// registerNew makes the node in one transaction, as Kafka does since only the answer
// to setData tells the number of the change.
func (s *Session) registerNew(ctx context.Context, path string, data []byte) (int64, error) {
	full := s.at(path)
	answers, err := s.multi(ctx, "create "+path, []any{
		&zk.CreateRequest{Path: full, Acl: s.acl(path), Flags: zk.FlagEphemeral},
		&zk.SetDataRequest{Path: full, Data: data, Version: 0},
	}, func(ctx context.Context) ([]zk.MultiResponse, bool, error) {
		n, found, err := s.find(ctx, path, nil)
		return []zk.MultiResponse{{}, {Stat: &zk.Stat{Czxid: n.epoch}}}, found && n.owner == s.ID() && bytes.Equal(n.data, data), err
	})
	if err != nil {
		return 0, err
	}
	if answers[1].Stat == nil {
		return 0, malformed(path, "no answer to setData")
	}
	return answers[1].Stat.Czxid, nil
}

func (s *Session) reregister(ctx context.Context, path string, data []byte, there node) error {
	if bytes.Equal(data, there.data) {
		return nil
	}
	_, err := s.set(ctx, path, data, there.version)
	return err
}

// samePlace reports whether a registration is of where this broker listens now, so that
// nobody else can be there. A copy of its data directory elsewhere knows its session
// too.
func samePlace(path string, r cluster.Registration, there node) bool {
	was, err := decodeRegistration(path, r.ID, there)
	return err == nil && slices.Equal(was.Endpoints, r.Endpoints)
}

// duplicate says who has the id.
func duplicate(path string, id int32, there node) error {
	where := "a broker that cannot be read"
	if r, err := decodeRegistration(path, id, there); err == nil && len(r.Endpoints) > 0 {
		where = fmt.Sprintf("the broker at %s:%d", r.Endpoints[0].Host, r.Endpoints[0].Port)
	}
	return fmt.Errorf("%w: %d is registered by %s; give one of the two another id", ErrDuplicateID, id, where)
}

// Unregister removes the broker if this session has registered it.
func (s *Session) Unregister(ctx context.Context, id int32) error {
	n, found, err := s.find(ctx, brokerPath(id), nil)
	if err != nil || !found || n.owner != s.ID() {
		return err
	}
	return s.remove(ctx, brokerPath(id), n.version)
}

// Brokers lists the brokers that are registered, by id. One that cannot be read is
// left out, and logged.
func (s *Session) Brokers(ctx context.Context, w *Watch) ([]cluster.Registration, error) {
	names, err := s.children(ctx, brokerIDsPath, w)
	if err != nil {
		return nil, err
	}
	found := make([]*cluster.Registration, len(names))
	err = each(ctx, len(names), func(ctx context.Context, i int) error {
		r, err := s.broker(ctx, names[i], w)
		switch {
		case err == nil:
			found[i] = &r
			return nil
		case errors.Is(err, ErrMalformed):
			s.log.Error("broker left out", "err", err)
			return nil
		case isNoNode(err): // gone since
			return nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var all []cluster.Registration
	for _, r := range found {
		if r != nil {
			all = append(all, *r)
		}
	}
	slices.SortFunc(all, func(a, b cluster.Registration) int { return int(a.ID) - int(b.ID) })
	return all, nil
}

func (s *Session) broker(ctx context.Context, name string, w *Watch) (cluster.Registration, error) {
	path := brokerIDsPath + "/" + name
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil || id < 0 {
		return cluster.Registration{}, malformed(path, "not a broker id")
	}
	n, err := s.get(ctx, path, w)
	if err != nil {
		return cluster.Registration{}, err
	}
	return decodeRegistration(path, int32(id), n)
}
