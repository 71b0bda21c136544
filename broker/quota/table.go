package quota

import (
	"errors"
	"fmt"
	"maps"
	"unicode/utf8"
)

var (
	// ErrTooMany is returned when there would be more than MaxEntities.
	ErrTooMany = errors.New("too many clients with rates of their own")
	// ErrInvalid is returned for a client or rate that cannot be.
	ErrInvalid = errors.New("invalid quota")
)

// MaxEntities is how many clients may have rates of their own.
const MaxEntities = 1000

// Table says which rates were given, over those of the configuration.
type Table struct {
	Default Rates            // of every client that has none of its own
	Clients map[string]Rates // by client id
}

// Entity is whose rate is meant: the client of that id, or every one that has none.
type Entity struct {
	ClientID string
	Default  bool
}

// Change gives an entity a rate, or takes it away with 0.
type Change struct {
	Entity
	Kind Kind
	Rate int64
}

// Check tells what is wrong with an entity.
func (e Entity) Check() error {
	switch {
	case e.Default:
		return nil
	case e.ClientID == "":
		return fmt.Errorf("%w: the client id is empty", ErrInvalid)
	case len(e.ClientID) > MaxClientID:
		return fmt.Errorf("%w: a client id of %d bytes, at most %d are allowed", ErrInvalid, len(e.ClientID), MaxClientID)
	case !utf8.ValidString(e.ClientID):
		return fmt.Errorf("%w: the client id %.60q is not UTF-8", ErrInvalid, e.ClientID)
	}
	return nil
}

func (c Change) check() error {
	if c.Rate < 0 {
		return fmt.Errorf("%w: a rate of %d bytes a second is below 1", ErrInvalid, c.Rate)
	}
	return c.Check()
}

// Rate returns the rate of a client: its own, or the default, or the configured.
// The nil Table gives nothing of its own.
func (t *Table) Rate(k Kind, clientID string, configured Rates) int64 {
	if t != nil {
		if own := t.Clients[clientID][k]; own != 0 {
			return own
		}
		if t.Default[k] != 0 {
			return t.Default[k]
		}
	}
	return configured[k]
}

// With returns a copy of t, which may be nil, with the changes made in their order.
func (t *Table) With(changes []Change) (*Table, error) {
	next := &Table{Clients: map[string]Rates{}}
	if t != nil {
		next.Default = t.Default
		maps.Copy(next.Clients, t.Clients)
	}
	for _, c := range changes {
		if err := c.check(); err != nil {
			return nil, err
		}
		if c.Default {
			next.Default[c.Kind] = c.Rate
			continue
		}
		rates := next.Clients[c.ClientID]
		if rates[c.Kind] = c.Rate; rates == (Rates{}) {
			delete(next.Clients, c.ClientID)
			continue
		}
		next.Clients[c.ClientID] = rates
	}
	if n := len(next.Clients); n > MaxEntities {
		return nil, fmt.Errorf("%w: %d, at most %d are allowed", ErrTooMany, n, MaxEntities)
	}
	return next, nil
}

// Equal reports whether both give the same. Either may be nil, which gives nothing.
func (t *Table) Equal(other *Table) bool {
	none := &Table{}
	if t == nil {
		t = none
	}
	if other == nil {
		other = none
	}
	return t.Default == other.Default && maps.Equal(t.Clients, other.Clients)
}
