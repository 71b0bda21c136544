package natsd

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strings"
	"time"
)

// leafTLS lets the bridge's own Leaf through a port for leaf nodes that has TLS. That
// port shows the operator's certificate, which need not be one for this machine's own
// addresses, and may ask for a client's, which the bridge has none of. So the Leaf asks
// for a name that only this process knows, is shown a certificate that only this process
// has, and is asked for none; its password says who it is.
type leafTLS struct {
	server, client *tls.Config
}

// alwaysValid is for a certificate that lives no longer than the process, on a machine
// that may not know the time.
var alwaysValid = func() time.Time { return time.Unix(0, 0) }

// newLeafTLS shows others what theirs does.
func newLeafTLS(theirs *tls.Config) (*leafTLS, error) {
	name := strings.ToLower(rand.Text())
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: alwaysValid(), NotAfter: alwaysValid().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	ours := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
	server := theirs.Clone()
	server.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		switch {
		case hello.ServerName == name:
			return ours, nil
		case theirs.GetConfigForClient != nil:
			return theirs.GetConfigForClient(hello)
		}
		return nil, nil // as server says
	}
	return &leafTLS{
		server: server,
		client: &tls.Config{MinVersion: tls.VersionTLS13, ServerName: name, RootCAs: roots, Time: alwaysValid},
	}, nil
}

// dial goes on from a connection to the server, which says INFO before the handshake.
// What it returns begins with that INFO.
func (l *leafTLS) dial(conn net.Conn) (net.Conn, error) {
	conn.SetDeadline(time.Now().Add(handshakeTimeout))
	info, err := bufio.NewReaderSize(oneByte{conn}, maxControlLine).ReadSlice('\n')
	if err != nil {
		conn.Close()
		return nil, err
	}
	secret := tls.Client(conn, l.client)
	if err := secret.Handshake(); err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	return &prefixed{secret, info}, nil
}

// oneByte reads no further than what is asked for, a byte at a time: what follows a
// line is not ours to read.
type oneByte struct{ io.Reader }

func (r oneByte) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }

// prefixed is a connection of which some has been read already.
type prefixed struct {
	net.Conn
	first []byte
}

func (c *prefixed) Read(p []byte) (int, error) {
	if len(c.first) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.first)
	c.first = c.first[n:]
	return n, nil
}
