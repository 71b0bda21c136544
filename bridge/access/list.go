package access

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/nats-io/nkeys"
)

// ErrRefused is the answer to every proof that is not one: it does not say whether
// there is such a user.
var ErrRefused = errors.New("the user is not known, or what it proves itself by is wrong")

// List is everybody who may connect.
type List struct {
	users        int
	names        map[string]*account
	nkeys        map[string]*Identity
	certificates map[string]*Identity
	anyone       *Identity
	passwords    *passwords
}

// account is a user as passwords know it.
type account struct {
	identity *Identity
	hash     []byte // empty: has no password
	known    known
}

func newList(users int) *List {
	return &List{
		names:        make(map[string]*account, users),
		nkeys:        map[string]*Identity{},
		certificates: map[string]*Identity{},
		anyone:       anyone(),
		passwords:    newPasswords(),
	}
}

// Nobody is a List without users.
func Nobody() *List { return newList(0) }

// add returns what of u another user has already.
func (l *List) add(u User, id *Identity) (taken []error) {
	l.users++
	if _, ok := l.names[u.Name]; ok && u.Name != "" {
		taken = append(taken, fmt.Errorf("name: %.60q is another user's", u.Name))
	}
	l.names[u.Name] = &account{identity: id, hash: []byte(u.Password)}
	l.passwords.atCostOf(u.Password)
	for _, proof := range []struct {
		field, value string
		of           map[string]*Identity
	}{{"nkey", u.NKey, l.nkeys}, {"certificate", u.Certificate, l.certificates}} {
		if proof.value == "" {
			continue
		}
		if _, ok := proof.of[proof.value]; ok {
			taken = append(taken, fmt.Errorf("%s: %.60q is another user's", proof.field, proof.value))
		}
		proof.of[proof.value] = id
	}
	return taken
}

// Empty tells that nobody is listed: then everyone is let in, as Anyone.
func (l *List) Empty() bool { return l.users == 0 }

// Anyone is who connects while nobody is listed.
func (l *List) Anyone() *Identity { return l.anyone }

// Certificate returns whose certificate it is. That it is a good one, and not another's,
// is known before: from the TLS handshake.
func (l *List) Certificate(cert *x509.Certificate) (*Identity, error) {
	if l.Empty() {
		return l.anyone, nil
	}
	for _, name := range Names(cert) {
		if id, ok := l.certificates[name]; ok {
			return id, nil
		}
	}
	return nil, ErrRefused
}

// Names are those by which a certificate can stand in the list; the first that does
// says whose it is. As with nats-server's verify_and_map these are the alternative
// names, e-mail addresses before DNS names before URIs, and then the subject as RFC 2253
// writes it ("CN=press3,O=plant7"); beyond it, last, the subject's common name alone.
func Names(cert *x509.Certificate) []string {
	names := append([]string{}, cert.EmailAddresses...)
	names = append(names, cert.DNSNames...)
	for _, uri := range cert.URIs {
		names = append(names, uri.String())
	}
	names = append(names, cert.Subject.String())
	if cert.Subject.CommonName != "" {
		names = append(names, cert.Subject.CommonName)
	}
	return names
}

// NKey returns whose public key it is, if signature is one of nonce by it. signature is
// in base64, as NATS's clients send it.
func (l *List) NKey(key string, nonce []byte, signature string) (*Identity, error) {
	if l.Empty() {
		return l.anyone, nil
	}
	id, ok := l.nkeys[key]
	if !ok || len(nonce) == 0 { // without a nonce any old signature would do
		return nil, ErrRefused
	}
	sig, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		if sig, err = base64.StdEncoding.DecodeString(signature); err != nil {
			return nil, ErrRefused
		}
	}
	public, err := nkeys.FromPublicKey(key)
	if err != nil {
		return nil, ErrRefused
	}
	if public.Verify(nonce, sig) != nil {
		return nil, ErrRefused
	}
	return id, nil
}
