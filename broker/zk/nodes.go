package zk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"

	"github.com/go-zookeeper/zk"
)

// node is what stands in one.
type node struct {
	data    []byte
	version int32
	epoch   int64 // of the change that made it, czxid
	owner   int64 // the session that it goes with; 0: it stays
}

// anyVersion makes a write unconditional.
const anyVersion = -1

// get reads a node. With a watch, a change of it is told; that of a node which is not
// there is not.
func (s *Session) get(ctx context.Context, path string, w *Watch) (node, error) {
	full := s.at(path)
	if w == nil {
		return read(ctx, s, "read "+path, func(c *zk.Conn) (node, error) { return got(c.Get(full)) })
	}
	return read(ctx, s, "read "+path, func(c *zk.Conn) (node, error) {
		armed, asked := s.watches.join(watchKey{full, false}, w)
		if armed {
			return got(c.Get(full))
		}
		data, stat, _, err := c.GetW(full)
		asked(err == nil)
		return got(data, stat, err)
	})
}

func got(data []byte, stat *zk.Stat, err error) (node, error) {
	if err != nil {
		return node{}, err
	}
	return node{data, stat.Version, stat.Czxid, stat.EphemeralOwner}, nil
}

// find reads a node that may not be there. With a watch, that it comes is told too.
func (s *Session) find(ctx context.Context, path string, w *Watch) (n node, found bool, err error) {
	for range maxTries {
		n, err = s.get(ctx, path, w)
		if !isNoNode(err) {
			return n, err == nil, err
		}
		if w == nil {
			return node{}, false, nil
		}
		exists, err := s.exists(ctx, path, w)
		if err != nil || !exists {
			return node{}, false, err
		}
	}
	return node{}, false, fmt.Errorf("read %s: it comes and goes: %w", path, ErrAway)
}

func (s *Session) exists(ctx context.Context, path string, w *Watch) (bool, error) {
	full := s.at(path)
	return read(ctx, s, "look for "+path, func(c *zk.Conn) (bool, error) {
		if w != nil {
			if armed, asked := s.watches.join(watchKey{full, false}, w); !armed {
				exists, _, _, err := c.ExistsW(full)
				asked(err == nil)
				return exists, err
			}
		}
		exists, _, err := c.Exists(full)
		return exists, err
	})
}

// children lists a node's children, unsorted.
func (s *Session) children(ctx context.Context, path string, w *Watch) ([]string, error) {
	full := s.at(path)
	return read(ctx, s, "list "+path, func(c *zk.Conn) ([]string, error) {
		if w != nil {
			if armed, asked := s.watches.join(watchKey{full, true}, w); !armed {
				names, _, _, err := c.ChildrenW(full)
				asked(err == nil)
				return names, err
			}
		}
		names, _, err := c.Children(full)
		return names, err
	})
}

// create makes a node. It fails with the library's ErrNodeExists if it is there, and
// is not what this call has made.
func (s *Session) create(ctx context.Context, path string, data []byte) error {
	if err := checkSize(path, data); err != nil {
		return err
	}
	_, err := write(ctx, s, "create "+path, func(c *zk.Conn) (struct{}, error) {
		_, err := c.Create(s.at(path), data, zk.FlagPersistent, s.acl(path))
		return struct{}{}, err
	}, func(ctx context.Context) (struct{}, bool, error) {
		n, found, err := s.find(ctx, path, nil)
		return struct{}{}, found && bytes.Equal(n.data, data), err
	})
	return err
}

// ensure makes a node that has no data, and those above it, unless they are there:
// who may not make one may still find it.
func (s *Session) ensure(ctx context.Context, dir string) error {
	if dir == "/" {
		return nil
	}
	if exists, err := s.exists(ctx, dir, nil); err != nil || exists {
		return err
	}
	err := s.create(ctx, dir, nil)
	if isNoNode(err) {
		if err = s.ensure(ctx, path.Dir(dir)); err == nil {
			err = s.create(ctx, dir, nil)
		}
	}
	if isNodeExists(err) {
		return nil
	}
	return err
}

// append makes a node whose name ends in a number that ZooKeeper gives. Should the
// answer be lost there may be two of it.
func (s *Session) append(ctx context.Context, prefix string, data []byte) error {
	if err := checkSize(prefix, data); err != nil {
		return err
	}
	_, err := write(ctx, s, "create "+prefix, func(c *zk.Conn) (struct{}, error) {
		_, err := c.Create(s.at(prefix), data, zk.FlagSequence, s.acl(prefix))
		return struct{}{}, err
	}, func(context.Context) (struct{}, bool, error) { return struct{}{}, false, nil })
	return err
}

// set writes a node that has this version, and returns its new one.
func (s *Session) set(ctx context.Context, path string, data []byte, version int32) (int32, error) {
	if err := checkSize(path, data); err != nil {
		return 0, err
	}
	return write(ctx, s, "write "+path, func(c *zk.Conn) (int32, error) {
		stat, err := c.Set(s.at(path), data, version)
		if err != nil {
			return 0, err
		}
		return stat.Version, nil
	}, func(ctx context.Context) (int32, bool, error) { return s.isNow(ctx, path, data, version) })
}

// isNow reports whether a write is what a node has now: over the given version.
func (s *Session) isNow(ctx context.Context, path string, data []byte, version int32) (int32, bool, error) {
	n, found, err := s.find(ctx, path, nil)
	same := found && bytes.Equal(n.data, data) && (version == anyVersion || n.version == version+1)
	return n.version, same, err
}

// remove removes a node that has this version. One that is not there is removed.
func (s *Session) remove(ctx context.Context, path string, version int32) error {
	_, err := write(ctx, s, "remove "+path, func(c *zk.Conn) (struct{}, error) {
		return struct{}{}, c.Delete(s.at(path), version)
	}, func(ctx context.Context) (struct{}, bool, error) {
		exists, err := s.exists(ctx, path, nil)
		return struct{}{}, !exists, err
	})
	if isNoNode(err) {
		return nil
	}
	return err
}

// opError is why a multi was not done, by the operation that failed.
type opError struct {
	index int
	err   error
}

func (e *opError) Error() string { return fmt.Sprintf("operation %d: %v", e.index, e.err) }
func (e *opError) Unwrap() error { return e.err }

// multi does several operations or none. The error has an opError if one of them was
// refused.
func (s *Session) multi(ctx context.Context, what string, ops []any, landed func(context.Context) ([]zk.MultiResponse, bool, error)) ([]zk.MultiResponse, error) {
	if err := checkSizes(what, ops); err != nil {
		return nil, err
	}
	return write(ctx, s, what, func(c *zk.Conn) ([]zk.MultiResponse, error) {
		answers, err := c.Multi(ops...)
		if err == nil && len(answers) != len(ops) {
			return nil, fmt.Errorf("%d answers to %d operations: %w", len(answers), len(ops), ErrMalformed)
		}
		if err != nil {
			for i, a := range answers {
				if a.Error != nil {
					return nil, &opError{i, a.Error}
				}
			}
		}
		return answers, err
	}, landed)
}

// refused returns the operation of a multi that was refused, or -1.
func refused(err error) (index int) {
	var op *opError
	if errors.As(err, &op) {
		return op.index
	}
	return -1
}

func checkSize(path string, data []byte) error {
	if len(data) > maxNodeBytes {
		return fmt.Errorf("%s: %d bytes: %w", path, len(data), ErrTooLarge)
	}
	return nil
}

// checkSizes is checkSize of a multi, which is one request.
func checkSizes(what string, ops []any) error {
	total := 0
	for _, op := range ops {
		switch op := op.(type) {
		case *zk.CreateRequest:
			total += len(op.Path) + len(op.Data)
		case *zk.SetDataRequest:
			total += len(op.Path) + len(op.Data)
		}
	}
	if total > maxNodeBytes {
		return fmt.Errorf("%s: %d bytes: %w", what, total, ErrTooLarge)
	}
	return nil
}

// encode makes the JSON of a node, with its text as it is.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // the forms are ours, and of types that have JSON
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// decode reads the JSON of the node at path.
func decode(path string, data []byte, into any) error {
	if err := json.Unmarshal(data, into); err != nil {
		return malformed(path, err)
	}
	return nil
}

func malformed(path string, why any) error { return fmt.Errorf("%s: %w: %v", path, ErrMalformed, why) }
