package access

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"
)

// hash is of the cheapest kind, so that tests do not wait.
func hash(t *testing.T, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func compile(t *testing.T, users ...User) *List {
	t.Helper()
	l, err := Compile(users)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Everything that is wrong is told at once, by the user's place.
func TestCompileComplains(t *testing.T) {
	const key = "UAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	good := User{Name: "good", Certificate: "good", Publish: []string{"a"}}
	many := make([]string, maxSubjects+1)
	for i := range many {
		many[i] = "a"
	}
	for name, tc := range map[string]struct {
		users []User
		want  string
	}{
		"plain":       {[]User{{Name: "a", Password: "secret", Publish: []string{"a"}}}, "invalid user 0: password: it is not a bcrypt hash; `headwater passwd` makes one of a password"},
		"cut":         {[]User{{Name: "a", Password: "$2a$10$abc", Publish: []string{"a"}}}, "invalid user 0: password: it is not a bcrypt hash; `headwater passwd` makes one of a password"},
		"long":        {[]User{{Name: "a", Password: "$2a$10$" + strings.Repeat("a", 54), Publish: []string{"a"}}}, "invalid user 0: password: it is not a bcrypt hash; `headwater passwd` makes one of a password"},
		"costly":      {[]User{{Name: "a", Password: "$2a$31$" + strings.Repeat("a", 53), Publish: []string{"a"}}}, "invalid user 0: password: its cost is 31, allowed is from 4 to 14"},
		"nkey":        {[]User{{Name: "a", NKey: key, Publish: []string{"a"}}}, "invalid user 0: nkey: it is not the public key of a user, which begins with U"},
		"unproved":    {[]User{{Name: "a", Publish: []string{"a"}}}, "invalid user 0: has nothing to prove itself by; wanted is a password, an nkey or a certificate"},
		"idle":        {[]User{{Name: "a", Certificate: "x"}}, "invalid user 0: may neither publish nor subscribe; wanted is a subject in one of the lists"},
		"nameless":    {[]User{{Certificate: "x", Publish: []string{"a"}}}, "invalid user 0: name: it is empty"},
		"spaceInName": {[]User{{Name: "a b", Certificate: "x", Publish: []string{"a"}}}, `invalid user 0: name: "a b" has a space or a control character`},
		"twice":       {[]User{good, good}, "invalid user 1: name: \"good\" is another user's\ninvalid user 1: certificate: \"good\" is another user's"},
		"subjects": {[]User{{Name: "a", Certificate: "x", Publish: []string{"a..b", "!>.a"}, Subscribe: many}}, `invalid user 0: publish: "a..b" has an empty token; ">.a": > can only be the last token` +
			"\ninvalid user 0: subscribe: there are 101 subjects, at most 100 are allowed"},
		"all":  {[]User{good, {}, {Name: "b", Password: "x", Publish: []string{"a*"}}}, "invalid user 1: name: it is empty\ninvalid user 1: has nothing to prove itself by; wanted is a password, an nkey or a certificate\ninvalid user 1: may neither publish nor subscribe; wanted is a subject in one of the lists\ninvalid user 2: password: it is not a bcrypt hash; `headwater passwd` makes one of a password\ninvalid user 2: publish: \"a*\": * and > stand alone in a token"},
		"many": {make([]User, MaxUsers+1), "invalid user: there are 4097, at most 4096 are allowed"},
	} {
		_, err := Compile(tc.users)
		if err == nil || err.Error() != tc.want || !errors.Is(err, ErrInvalidUser) {
			t.Errorf("%s: got\n%v\nwant\n%s", name, err, tc.want)
		}
	}
}

// A list without users lets everybody in, but to listen to what is ours.
func TestNobodyListed(t *testing.T) {
	l := compile(t)
	byPassword, err1 := l.Password("any", "thing")
	byCertificate, err2 := l.Certificate(&x509.Certificate{})
	byNKey, err3 := l.NKey("", nil, "")
	if err := errors.Join(err1, err2, err3); err != nil || byPassword != l.Anyone() || byCertificate != l.Anyone() || byNKey != l.Anyone() || !l.Empty() {
		t.Errorf("%v, %v, %v, %v", byPassword, byCertificate, byNKey, err)
	}
	if id := l.Anyone(); !id.MayPublish([]byte("$JS.API.INFO")) || !id.MaySubscribe(">") || id.MaySubscribe("$JS.API.>") || id.MaySubscribe("$JS.ACK.>") || id.MaySubscribe("$JS.hw.API.>") {
		t.Errorf("anyone may %+v and %+v", id.Publish(), id.Subscribe())
	}
}

func TestCertificate(t *testing.T) {
	l := compile(t,
		User{Name: "mail", Certificate: "press3@plant7.example", Publish: []string{"a"}},
		User{Name: "dns", Certificate: "press3.plant7.example", Publish: []string{"a"}},
		User{Name: "uri", Certificate: "spiffe://plant7/press3", Publish: []string{"a"}},
		User{Name: "subject", Certificate: "CN=press3,O=plant7", Publish: []string{"a"}},
		User{Name: "common", Certificate: "press3", Publish: []string{"a"}},
	)
	uri, err := url.Parse("spiffe://plant7/press3")
	if err != nil {
		t.Fatal(err)
	}
	subject := pkix.Name{CommonName: "press3", Organization: []string{"plant7"}}
	for want, cert := range map[string]*x509.Certificate{
		"mail":    {EmailAddresses: []string{"press3@plant7.example"}, DNSNames: []string{"press3.plant7.example"}, URIs: []*url.URL{uri}, Subject: subject},
		"dns":     {EmailAddresses: []string{"other@plant7.example"}, DNSNames: []string{"x.example", "press3.plant7.example"}, URIs: []*url.URL{uri}, Subject: subject},
		"uri":     {URIs: []*url.URL{uri}, Subject: subject},
		"subject": {Subject: subject},
		"common":  {Subject: pkix.Name{CommonName: "press3", Organization: []string{"plant8"}}},
		"":        {DNSNames: []string{"x.example"}, Subject: pkix.Name{CommonName: "press4"}},
	} {
		id, err := l.Certificate(cert)
		if want == "" {
			if !errors.Is(err, ErrRefused) {
				t.Errorf("a stranger: %v, %v", id, err)
			}
			continue
		}
		if err != nil || id.Name() != want {
			t.Errorf("%s: %v, %v", want, id, err)
		}
	}
}

func TestNKey(t *testing.T) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	l := compile(t, User{Name: "press3", NKey: public, Publish: []string{"a"}})
	nonce := []byte("nonce")
	sign := func(text []byte) string {
		sig, err := pair.Sign(text)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(sig)
	}
	if id, err := l.NKey(public, nonce, sign(nonce)); err != nil || id.Name() != "press3" {
		t.Errorf("%v, %v", id, err)
	}
	other, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := other.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		key       string
		nonce     []byte
		signature string
	}{
		"otherNonce": {public, []byte("other"), sign(nonce)},
		"noNonce":    {public, nil, sign(nil)},
		"stranger":   {stranger, nonce, sign(nonce)},
		"garbage":    {public, nonce, "%"},
		"none":       {public, nonce, ""},
	} {
		if id, err := l.NKey(tc.key, tc.nonce, tc.signature); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, %v", name, id, err)
		}
	}
}

// What Hash makes, Compile takes and Password knows.
func TestHash(t *testing.T) {
	h, err := Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	l := compile(t, User{Name: "a", Password: h, Publish: []string{"a"}})
	if id, err := l.Password("a", "secret"); err != nil || id.Name() != "a" {
		t.Errorf("%v, %v", id, err)
	}
	for _, password := range []string{"", strings.Repeat("x", MaxPasswordLen+1)} {
		if h, err := Hash(password); err == nil {
			t.Errorf("a password of %d bytes became %s", len(password), h)
		}
	}
}

// A user has what its lists say, and the answers to what it asks; nats-server is told
// the same.
func TestSubjectsAreExported(t *testing.T) {
	l := compile(t, User{Name: "a", Certificate: "a", Publish: []string{"a.>", "!a.b"}, Subscribe: []string{"c", "!d.*"}})
	id, err := l.Certificate(&x509.Certificate{Subject: pkix.Name{CommonName: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(id.Publish(), id.Subscribe())
	if want := "{[a.>] [a.b]} {[c _INBOX.>] [d.* $JS.API.> $JS.*.API.> $JS.ACK.> $JS.*]}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
