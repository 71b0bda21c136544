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
	ErrListeners = errors.New("the listeners of the brokers differ")
)

// Serve is a member of the region for one session: it registers, follows what
// changes, and stands for election. It returns when ctx is done or the session is
// over. An error that wraps zk.ErrGiveUp is for good.
func (r *Region) Serve(ctx context.Context, s *zk.Session) error {
	brokerEpoch, err := r.join(ctx, s)
	if err != nil {
		return err
	}
	r.joined.Store(&membership{session: s, brokerEpoch: brokerEpoch})
	defer r.joined.Store(nil)
	r.log.Info("joined the region", "clusterID", r.identity.ClusterID(), "brokerID", r.cfg.Self.ID, "brokerEpoch", brokerEpoch)
	if err := r.readAll(ctx, s); err != nil {
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
	others, err := s.Brokers(ctx, nil)
	if err != nil {
		return 0, err
	}
	if err := checkListeners(self, others); err != nil {
		return 0, err
	}
	if err := s.MarkGateway(ctx, self.ID, r.cfg.Gateway); err != nil {
		return 0, err
	}
	brokerEpoch, err = s.Register(ctx, self)
	if errors.Is(err, zk.ErrDuplicateID) {
		err = fmt.Errorf("%w: %w", zk.ErrGiveUp, err)
	}
	return brokerEpoch, err
}

// checkCluster holds the data directory's cluster against ZooKeeper's. A directory
// that has never been in a region becomes one of this region's.
func (r *Region) checkCluster(ctx context.Context, s *zk.Session) error {
	id, err := s.ClusterID(ctx, r.identity.ClusterID())
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch known := r.image.ClusterID; {
	case known != "" && known != id:
		return fmt.Errorf("%w: %w: %s, and ZooKeeper has %s; start with an empty data.dir, or set region.zookeeper to where its cluster is", zk.ErrGiveUp, ErrOtherCluster, known, id)
	case known == "":
		if err := r.identity.Adopt(id, r.cfg.Self.ID); err != nil {
			return err
		}
		r.image.ClusterID = id
		return r.save()
	}
	return nil
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
				return fmt.Errorf("%w: %w: broker %d has the address %s:%d, which is this broker's; set kafka.advertise to this one's own", zk.ErrGiveUp, ErrListeners, other.ID, at.Host, at.Port)
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
