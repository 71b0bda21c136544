// Package access says who may do what: which users there are, how each proves who it
// is, and which subjects it may publish and subscribe to.
//
// Everything comes from one list, for NATS, WebSocket, leaf nodes and MQTT alike. The
// package opens nothing and starts nothing. A List does not change once it is compiled,
// but for what it remembers of passwords, and any goroutine may use it. Subjects are in
// NATS's form.
package access

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"
)

// User is one who may connect, by any of the three proofs that it has.
type User struct {
	Name        string
	Password    string // bcrypt's hash of it
	NKey        string // the public key of an NKey of a user: U and 55 letters and digits
	Certificate string // a name in its TLS client certificate; see Names

	// Publish and Subscribe are subjects, with wildcards; one that begins with ! takes
	// away what it matches. What no subject allows may not be done, but that answers may
	// always be heard: _INBOX.> needs no mention to be allowed, only to be taken away.
	Publish, Subscribe []string
}

// The bounds of a list. A connection holds its user's subjects in memory.
const (
	MaxUsers    = 4096
	maxNameLen  = 128
	maxSubjects = 100 // of a user, to publish; and as many to subscribe
	maxSubject  = 512 // bytes
	minCost     = bcrypt.MinCost
	maxCost     = 14 // a login takes seconds from here on
)

// ErrInvalidUser is wrapped by every complaint about a user.
var ErrInvalidUser = errors.New("invalid user")

// Compile takes the list apart. Its error holds everything that is wrong, each user by
// its place in the list, counted from 0.
func Compile(users []User) (*List, error) {
	if len(users) > MaxUsers {
		return nil, fmt.Errorf("%w: there are %d, at most %d are allowed", ErrInvalidUser, len(users), MaxUsers)
	}
	l := newList(len(users))
	var errs []error
	for i, u := range users {
		complain := func(err error) {
			if err != nil {
				errs = append(errs, fmt.Errorf("%w %d: %w", ErrInvalidUser, i, err))
			}
		}
		complain(checkName(u.Name))
		complain(checkPassword(u.Password))
		complain(checkNKey(u.NKey))
		complain(checkCertificate(u.Certificate))
		if u.Password == "" && u.NKey == "" && u.Certificate == "" {
			complain(errors.New("has nothing to prove itself by; wanted is a password, an nkey or a certificate"))
		}
		publish, err := parseSubjects(u.Publish)
		complain(at("publish", err))
		subscribe, err := parseSubjects(u.Subscribe)
		complain(at("subscribe", err))
		if len(u.Publish) == 0 && len(u.Subscribe) == 0 {
			complain(errors.New("may neither publish nor subscribe; wanted is a subject in one of the lists"))
		}
		for _, taken := range l.add(u, newIdentity(u.Name, publish, subscribe)) {
			complain(taken)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return l, nil
}

func at(field string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", field, err)
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("name: it is empty")
	case len(name) > maxNameLen:
		return fmt.Errorf("name: %d bytes, at most %d are allowed", len(name), maxNameLen)
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return fmt.Errorf("name: %q has a space or a control character", name)
	}
	return nil
}

// hashLen is of bcrypt's $2a$10$, 22 letters of salt and 31 of the hash.
const hashLen = 60

func checkPassword(hash string) error {
	if hash == "" {
		return nil
	}
	cost, err := bcrypt.Cost([]byte(hash))
	switch {
	case err != nil || len(hash) != hashLen:
		return errors.New("password: it is not a bcrypt hash; `headwater passwd` makes one of a password")
	case cost < minCost || cost > maxCost:
		return fmt.Errorf("password: its cost is %d, allowed is from %d to %d", cost, minCost, maxCost)
	}
	return nil
}

func checkNKey(key string) error {
	if key != "" && !nkeys.IsValidPublicUserKey(key) {
		return errors.New("nkey: it is not the public key of a user, which begins with U")
	}
	return nil
}

func checkCertificate(name string) error {
	if len(name) > maxSubject {
		return fmt.Errorf("certificate: %d bytes, at most %d are allowed", len(name), maxSubject)
	}
	return nil
}

// MaxPasswordLen is in bytes: bcrypt sees no more.
const MaxPasswordLen = 72

// hashCost costs a login about a tenth of a second on a small machine.
const hashCost = bcrypt.DefaultCost

// Hash makes of a password what stands in User.Password.
func Hash(password string) (string, error) {
	switch {
	case password == "":
		return "", errors.New("the password is empty")
	case len(password) > MaxPasswordLen:
		return "", fmt.Errorf("the password has %d bytes, at most %d are allowed", len(password), MaxPasswordLen)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), hashCost)
	return string(hash), err
}
