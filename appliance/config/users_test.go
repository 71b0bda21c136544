package config

import (
	"reflect"
	"strings"
	"testing"

	"github.com/headwater/headwater/bridge/access"
)

const someHash = "$2a$04$01234567890123456789012345678901234567890123456789012"

func TestUsersFromEverySource(t *testing.T) {
	want := []access.User{
		{Name: "press3", Password: someHash, Certificate: "press3", Publish: []string{"telemetry.press3.>", "!telemetry.press3.x"}},
		{Name: "reader", Password: someHash, Publish: []string{"$JS.API.>"}, Subscribe: []string{">"}},
	}
	file := fileOf(t, `
users:
  - name: press3
    password: `+someHash+`
    nkey:
    certificate: press3
    publish: [telemetry.press3.>, "!telemetry.press3.x"]
  - name: reader
    password: `+someHash+`
    publish:
      - $JS.API.>
    subscribe: [">"]
`)
	text := `[{"name": "press3", "password": "` + someHash + `", "certificate": "press3", "publish": ["telemetry.press3.>", "!telemetry.press3.x"]},
		{"name": "reader", "password": "` + someHash + `", "publish": ["$JS.API.>"], "subscribe": [">"]}]`
	for name, load := range map[string]func() (Config, error){
		"file": func() (Config, error) {
			return Load(file, nil, []string{"HEADWATER_NATS_TLS_CLIENT_CA=x", "HEADWATER_NATS_TLS_CERT=x", "HEADWATER_NATS_TLS_KEY=x"})
		},
		"environment": func() (Config, error) { return Load("", nil, []string{"HEADWATER_USERS=" + text}) },
	} {
		got, err := load()
		if err != nil || !reflect.DeepEqual(got.Users, want) {
			t.Errorf("%s: got  %+v, %v\nwant %+v", name, got.Users, err, want)
		}
		var b strings.Builder
		if err := got.Print(&b); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), "\n  - name: press3\n") {
			t.Errorf("%s: not printed for people to read:\n%s", name, b.String())
		}
		if again, err := Load(fileOf(t, b.String()), nil, nil); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s: printed\n%s\nloaded %+v, %v", name, b.String(), again.Users, err)
		}
	}
}

// What is wrong is said in sentences, without the passwords.
func TestUserSentences(t *testing.T) {
	by := "[{name: a, certificate: x, publish: [a]}]"
	for name, tc := range map[string]struct {
		environ []string
		want    string
	}{
		"plainPassword": {[]string{"HEADWATER_USERS=[{name: a, password: secret, publish: [a]}, {name: b, password: hidden}]"}, "users (environment HEADWATER_USERS): invalid user 0: password: it is not a bcrypt hash; `headwater passwd` makes one of a password\n" +
			"users (environment HEADWATER_USERS): invalid user 1: password: it is not a bcrypt hash; `headwater passwd` makes one of a password\n" +
			"users (environment HEADWATER_USERS): invalid user 1: may neither publish nor subscribe; wanted is a subject in one of the lists"},
		"noList": {[]string{"HEADWATER_USERS={name: a, password: secret}"}, `users (environment HEADWATER_USERS): it is not a list of users; allowed is one such as [{name: press3, password: "$2a$10$...", publish: [telemetry.press3.>]}]`},
		"fields": {[]string{"HEADWATER_USERS=[{name: a, pass: secret, publish: a, subscribe: [[a]], nkey: [a], name: b}, b]"}, `users (environment HEADWATER_USERS): user 0 has "pass"; allowed are name, password, nkey, certificate, publish and subscribe
users (environment HEADWATER_USERS): user 0 publish: is not a list; allowed is one of subjects, such as ["telemetry.press3.>"]
users (environment HEADWATER_USERS): user 0 subscribe: holds a list or a mapping; allowed are subjects
users (environment HEADWATER_USERS): user 0 nkey: holds a list or a mapping; allowed is one value
users (environment HEADWATER_USERS): user 0 has name twice; allowed is once
users (environment HEADWATER_USERS): user 1 is not a mapping; allowed are name, password, nkey, certificate, publish and subscribe`},
		"certificateNotAsked": {[]string{"HEADWATER_USERS=" + by}, "users (environment HEADWATER_USERS): there is one who can come by certificate alone, and nobody is asked for one; allowed is with nats.tls.clientCa alone"},
		"certWithoutKey":      {[]string{"HEADWATER_NATS_TLS_CERT=c"}, "nats.tls.cert (environment HEADWATER_NATS_TLS_CERT): goes together with nats.tls.key; allowed are both or none"},
		"caWithoutCert":       {[]string{"HEADWATER_NATS_TLS_CLIENT_CA=c"}, "nats.tls.clientCa (environment HEADWATER_NATS_TLS_CLIENT_CA): needs TLS; allowed is with nats.tls.cert alone"},
		"verifyWithoutCA":     {[]string{"HEADWATER_NATS_TLS_VERIFY=true"}, "nats.tls.verify (environment HEADWATER_NATS_TLS_VERIFY): needs authorities to hold certificates against; allowed is with nats.tls.clientCa alone"},
		"openWebSocket":       {[]string{"HEADWATER_NATS_WEBSOCKET_LISTEN=:8443"}, "nats.websocket.listen (environment HEADWATER_NATS_WEBSOCKET_LISTEN): shows passwords to the network without TLS; allowed is with nats.tls.cert, on a loopback address, or with nats.websocket.insecure"},
		"localWebSocket":      {[]string{"HEADWATER_NATS_WEBSOCKET_LISTEN=127.0.0.1:8443"}, ""},
		"insecureWebSocket":   {[]string{"HEADWATER_NATS_WEBSOCKET_LISTEN=:8443", "HEADWATER_NATS_WEBSOCKET_INSECURE=true"}, ""},
		"leafnodesForAll":     {[]string{"HEADWATER_NATS_LEAFNODES_LISTEN=:7422"}, "nats.leafnodes.listen (environment HEADWATER_NATS_LEAFNODES_LISTEN): would let every server join; allowed is with users alone"},
		"samePort":            {[]string{"HEADWATER_NATS_WEBSOCKET_LISTEN=127.0.0.1:4222"}, "nats.websocket.listen (environment HEADWATER_NATS_WEBSOCKET_LISTEN): 127.0.0.1:4222 is the address of another port; allowed is another one"},
	} {
		_, err := Load("", nil, tc.environ)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || err.Error() != tc.want) {
			t.Errorf("%s: got\n%v\nwant\n%s", name, err, tc.want)
		}
	}
}
