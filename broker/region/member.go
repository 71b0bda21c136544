package region

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/zk"
)

// Why a broker cannot be a member.
var (
	// ErrOtherCluster is returned for a data directory of another cluster.
	ErrOtherCluster = errors.New("the data directory is of another cluster")
	// ErrListeners is returned when the brokers there have other listeners.
	ErrListeners = errors.New("the listeners of the brokers do not match")

	errSameAddress = errors.New("two of them are the same")
)

// Serve is a member of the region for one session: it registers, follows what
// changes, and stands for election. It returns when ctx is done or the session is
// over. An error that wraps zk.ErrGiveUp is for good.
func (r *Region) Serve(ctx context.Context, s *zk.Session) error {
	r.reads.Store(readerOf(s))
	defer r.reads.Store(nil)
	brokerEpoch, err := r.join(ctx, s)
	if err != nil {
		return err
	}
	r.joined.Store(&membership{session: s, brokerEpoch: brokerEpoch})
	defer r.joined.Store(nil)
	r.mu.Lock()
	r.brokerEpoch = max(r.brokerEpoch, brokerEpoch)
	r.mu.Unlock()
	r.log.Info("joined the region", "clusterID", r.identity.ClusterID(), "brokerID", r.cfg.Self.ID, "brokerEpoch", brokerEpoch)
	if err := r.prune(ctx, s); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.watchSettings(ctx, s) })
	g.Go(func() error { return r.watchController(ctx, s) })
	return g.Wait()
}

// join registers this broker, after what must be so has been looked at.
func (r *Region) join(ctx context.Context, s *zk.Session) (brokerEpoch int64, err error) {
	if err := s.EnsurePaths(ctx); err != nil {
		return 0, err
	}
	if err := r.checkCluster(ctx, s); err != nil {
		return 0, err
	}
	self := r.registration()
	if err := r.awaitPlace(ctx, s, self); err != nil {
		return 0, err
	}
	if err := r.readAll(ctx, s); err != nil { // the controller's orders come at once then
		return 0, err
	}
	if err := s.MarkGateway(ctx, self.ID, r.cfg.Gateway); err != nil {
		return 0, err
	}
	r.noteSession(s.ID())
	brokerEpoch, err = s.Register(ctx, self)
	if errors.Is(err, zk.ErrDuplicateID) {
		err = fmt.Errorf("%w: %w", zk.ErrGiveUp, err)
	}
	return brokerEpoch, err
}

// maxSessions are remembered: what earlier ones held has gone by itself.
const maxSessions = 8

// noteSession remembers on disk with which session this broker registers: should it
// crash, the next start takes the registration over, and does not wait for its end.
func (r *Region) noteSession(id int64) {
	r.mu.Lock()
	r.sessions = append(slices.Clone(r.sessions), id)
	r.sessions = r.sessions[max(len(r.sessions)-maxSessions, 0):]
	r.mu.Unlock()
	if err := r.save(); err != nil {
		r.log.Error("what is known of the region was not saved", "err", err)
	}
}

// OwnSession reports whether a session with ZooKeeper was this broker's.
func (r *Region) OwnSession(id int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.sessions, id)
}

// awaitPlace looks at who else is there. One at this broker's address may have
// crashed, under another id, and has as long as a session lasts to go.
func (r *Region) awaitPlace(ctx context.Context, s *zk.Session, self cluster.Registration) error {
	patience := time.NewTimer(s.Timeout())
	defer patience.Stop()
	watch, changed := zk.NewWatch()
	defer s.Unwatch(watch)
	for {
		others, err := s.Brokers(ctx, watch)
		if err != nil {
			return err
		}
		refused := checkListeners(self, others)
		if !errors.Is(refused, errSameAddress) {
			return refused
		}
		select {
		case <-changed:
		case <-patience.C:
			return refused
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// checkCluster holds the data directory's cluster against ZooKeeper's. A directory
// that has never been in a region becomes one of this region's.
func (r *Region) checkCluster(ctx context.Context, s *zk.Session) error {
	id, err := s.ClusterID(ctx, r.identity.ClusterID())
	if err != nil {
		return err
	}
	r.mu.Lock()
	known := r.image.ClusterID
	r.mu.Unlock()
	switch {
	case known != "" && known != id:
		return fmt.Errorf("%w: %w: %s, and ZooKeeper has %s; start with an empty data.dir, or set region.zookeeper to where its cluster is", zk.ErrGiveUp, ErrOtherCluster, known, id)
	case known != "":
		return nil
	}
	if err := r.identity.Adopt(id, r.cfg.Self.ID); err != nil {
		return err
	}
	r.mu.Lock()
	r.image.ClusterID = id
	r.mu.Unlock()
	return r.save()
}

func (r *Region) registration() cluster.Registration {
	self := r.cfg.Self
	return cluster.Registration{
		ID: self.ID, Rack: self.Rack,
		Endpoints: []cluster.Endpoint{{Listener: r.cfg.Listener, Protocol: "PLAINTEXT", Host: self.Host, Port: self.Port}},
	}
}

// checkListeners reports what would keep the controller from reaching this broker,
// or others from being told apart.
func checkListeners(self cluster.Registration, others []cluster.Registration) error {
	name, at := self.Endpoints[0].Listener, self.Endpoints[0]
	for _, other := range others {
		if other.ID == self.ID {
			continue // an earlier registration, or another process: Register tells
		}
		names := make([]string, 0, len(other.Endpoints))
		for _, e := range other.Endpoints {
			names = append(names, e.Listener)
			if e.Host == at.Host && e.Port == at.Port {
				return fmt.Errorf("%w: %w: %w: broker %d has the address %s:%d, which is this broker's; set kafka.advertise to this one's own", zk.ErrGiveUp, ErrListeners, errSameAddress, other.ID, at.Host, at.Port)
			}
		}
		if !slices.Contains(names, name) {
			return fmt.Errorf("%w: %w: broker %d has %v, and this broker %s; set region.listener to the one that all have", zk.ErrGiveUp, ErrListeners, other.ID, names, name)
		}
	}
	return nil
}

// retryAfter is the time between two tries of something that failed while the
// session is well.
const retryAfter = time.Second

// watchController knows who the controller is, and is it when there is none and this
// broker may.
func (r *Region) watchController(ctx context.Context, s *zk.Session) error {
	watch, changed := zk.NewWatch()
	for ctx.Err() == nil {
		id, known, err := s.Controller(ctx, watch)
		switch {
		case errors.Is(err, zk.ErrOver):
			return err
		case err != nil:
			r.log.Warn("controller not known", "err", err)
			pause(ctx, retryAfter)
			continue
		case !known && !r.cfg.Gateway:
			if err := r.stand(ctx, s); err != nil {
				return err
			}
			continue
		case known:
			r.setController(id)
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// stand tries to become the controller and, having become it, is it for as long as
// it lasts.
func (r *Region) stand(ctx context.Context, s *zk.Session) error {
	term, won, err := s.Elect(ctx, r.cfg.Self.ID)
	switch {
	case errors.Is(err, zk.ErrOver):
		return err
	case err != nil:
		r.log.Warn("election failed", "err", err)
		pause(ctx, retryAfter)
		return nil
	case !won:
		return nil
	}
	r.setController(r.cfg.Self.ID)
	if err := term.EnsureFeatures(ctx); err != nil {
		r.log.Warn("/feature not made; the next controller of Kafka's may be slow to take over", "err", err)
	}
	err = r.controller.Run(ctx, term.Epoch(), term)
	if errors.Is(err, cluster.ErrFenced) || ctx.Err() != nil {
		return ctx.Err()
	}
	// The role is given up, so that another, or this one anew, reads all again.
	r.log.Error("controller failed; it resigns", "controllerEpoch", term.Epoch(), "err", err)
	if err := term.Resign(ctx); err != nil {
		return err
	}
	pause(ctx, retryAfter)
	return nil
}

func (r *Region) setController(id int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.image.ControllerID != id {
		r.image.ControllerID = id
		r.publish()
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
