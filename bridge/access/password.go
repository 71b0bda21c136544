package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// ErrBusy is the answer when more passwords come than can be checked.
var ErrBusy = errors.New("too many passwords wait to be checked")

const (
	maxWaiting = 256 // logins
	maxWait    = 10 * time.Second
)

// passwords checks passwords. bcrypt takes the processor for a tenth of a second, so
// that a flood of logins could take it for good: at most half of the cores check at one
// time, a bounded number waits, and a password that was right before is known by a
// digest, so that a device that comes back never waits for those who guess.
type passwords struct {
	slots   chan struct{}
	waiting atomic.Int32
	key     []byte // of the digests; they are worth nothing to who has not got it
	cost    int
	nobody  []byte // a hash that no password has, as costly as the costliest
	compare func(hash, password []byte) error
}

// known is the digest of the password that was right last.
type known struct {
	digest atomic.Pointer[[sha256.Size]byte]
}

func newPasswords() *passwords {
	p := &passwords{
		slots:   make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		key:     make([]byte, sha256.Size),
		compare: bcrypt.CompareHashAndPassword,
	}
	rand.Read(p.key)
	return p
}

// atCostOf makes a check of nobody's password as costly as one of hash.
func (p *passwords) atCostOf(hash string) {
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || cost <= p.cost {
		return
	}
	p.cost = cost
	text := "$2a$" + strconv.Itoa(cost/10) + strconv.Itoa(cost%10) + "$"
	for len(text) < hashLen {
		text += "."
	}
	p.nobody = []byte(text)
}

// Password returns whose name and password these are. It takes the same time whether
// there is no such user or the password is wrong, as long as all hashes have one cost.
// It can wait for seconds, and then return ErrBusy.
func (l *List) Password(name, password string) (*Identity, error) {
	if l.Empty() {
		return l.anyone, nil
	}
	if name == "" || len(password) > MaxPasswordLen {
		return nil, ErrRefused // whoever is listed
	}
	a, p := l.names[name], l.passwords
	if a == nil || len(a.hash) == 0 {
		if p.nobody == nil {
			return nil, ErrRefused // nobody has a password
		}
		a = &account{hash: p.nobody}
	}
	digest := p.digest(password)
	if a.knows(digest) {
		return a.identity, nil
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { <-p.slots }()
	if a.knows(digest) { // by one that came in while we waited
		return a.identity, nil
	}
	if p.compare(a.hash, []byte(password)) != nil || a.identity == nil {
		return nil, ErrRefused
	}
	a.known.digest.Store(&digest)
	return a.identity, nil
}

func (p *passwords) digest(password string) (digest [sha256.Size]byte) {
	mac := hmac.New(sha256.New, p.key)
	mac.Write([]byte(password))
	mac.Sum(digest[:0])
	return digest
}

func (a *account) knows(digest [sha256.Size]byte) bool {
	last := a.known.digest.Load()
	return last != nil && hmac.Equal(last[:], digest[:])
}

// enter waits for a slot.
func (p *passwords) enter() error {
	if p.waiting.Add(1) > maxWaiting {
		p.waiting.Add(-1)
		return ErrBusy
	}
	defer p.waiting.Add(-1)
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ErrBusy
	}
}
