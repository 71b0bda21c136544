package zk

import (
	"errors"
	"fmt"

	"github.com/go-zookeeper/zk"
)

// Why ZooKeeper did not do what it was asked.
var (
	// ErrAway is returned for what was not asked, since nobody was connected.
	ErrAway = errors.New("not connected to ZooKeeper")
	// ErrUncertain is returned for a write that may have been done: the connection went
	// before the answer came.
	ErrUncertain = errors.New("ZooKeeper's answer was lost")
	// ErrOver is returned by a session that has ended: what it held is gone.
	ErrOver = errors.New("the session with ZooKeeper is over")
	// ErrMalformed is returned for a node that is not as the contract says.
	ErrMalformed = errors.New("malformed node in ZooKeeper")
	// ErrTooLarge is returned for what does not fit into a node.
	ErrTooLarge = errors.New("too large for a node of ZooKeeper")
	// ErrDuplicateID is returned to a broker whose id another one has.
	ErrDuplicateID = errors.New("the broker id is taken")
	// ErrMigrating is returned in a cluster that is being moved to KRaft.
	ErrMigrating = errors.New("the cluster is being migrated to KRaft, which headwater does not take part in")
	// ErrInvalidName is returned for a name that cannot be a node's.
	ErrInvalidName = errors.New("cannot be the name of a node in ZooKeeper")
	// ErrGiveUp ends a Client that would else go on with another session.
	ErrGiveUp = errors.New("giving up on ZooKeeper")
)

// Why a session ends, beside being closed.
var (
	errExpired = errors.New("expired by ZooKeeper")
	errSilent  = errors.New("no answer for as long as a session lasts")
	errClosed  = errors.New("closed")
)

// translated says in our words what the library means. Errors about nodes stay:
// the rest of the room handles them.
func translated(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, zk.ErrNoServer): // it waited to be sent, and was given up
		return fmt.Errorf("%w: %w", ErrAway, err)
	case errors.Is(err, zk.ErrConnectionClosed), errors.Is(err, zk.ErrClosing),
		errors.Is(err, zk.ErrSessionExpired), errors.Is(err, zk.ErrSessionMoved):
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	default:
		return err
	}
}

func isNoNode(err error) bool     { return errors.Is(err, zk.ErrNoNode) }
func isNodeExists(err error) bool { return errors.Is(err, zk.ErrNodeExists) }
func isBadVersion(err error) bool { return errors.Is(err, zk.ErrBadVersion) }
