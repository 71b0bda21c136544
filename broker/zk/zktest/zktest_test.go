package zktest

import "testing"

// A server keeps its address over a kill and a stop, and serves again; so does one
// that was frozen.
func TestServer(t *testing.T) {
	s := Start(t)
	address := s.Address()
	if mode, err := s.Mode(); err != nil || mode != "standalone" {
		t.Errorf("mode %q, %v; want standalone", mode, err)
	}
	if err := s.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := s.Thaw(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Mode(); err != nil {
		t.Errorf("after it was thawed: %v", err)
	}
	s.Kill()
	if mode, err := s.Mode(); err == nil {
		t.Errorf("mode %q of a killed server", mode)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err == nil {
		t.Error("a running server was started")
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if s.Address() != address {
		t.Errorf("address %s, was %s", s.Address(), address)
	}
	if err := s.Freeze(); err == nil {
		t.Error("a stopped server was frozen")
	}
}

// Three servers have one leader, and another one when it is killed.
func TestEnsemble(t *testing.T) {
	e := StartEnsemble(t, 3)
	first, err := e.Leader()
	if err != nil {
		t.Fatal(err)
	}
	first.Kill()
	second, err := e.Leader()
	if err != nil {
		t.Fatal(err)
	}
	if second == first {
		t.Error("the killed server leads")
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	if mode, err := first.Mode(); err != nil || mode != "follower" {
		t.Errorf("mode %q, %v of the server that came back; want follower", mode, err)
	}
}
