package server

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// maxHops bounds the proxies in a row that are believed.
const maxHops = 16

// client returns the address that the request comes from. A proxy that is
// trusted is believed about whoever connected to it, and so on from the right;
// what stands left of the first address that is not trusted, anybody can have
// written. A value that is no address ends the search.
func (s *Server) client(r *http.Request) string {
	last := host(r.RemoteAddr)
	if !s.trusts(last) {
		return last
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= max(0, len(hops)-maxHops); i-- {
		a, ok := forwarded(strings.TrimSpace(hops[i]))
		if !ok {
			return last
		}
		if last = a.String(); !s.trusts(last) {
			return last
		}
	}
	return last
}

// trusts reports whether the address is a proxy's.
func (s *Server) trusts(addr string) bool {
	if len(s.Proxies) == 0 {
		return false
	}
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return false
	}
	a = a.Unmap().WithZone("")
	for _, p := range s.Proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// forwarded reads one value of X-Forwarded-For: an address, which some proxies
// write with a port.
func forwarded(value string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(value); err == nil {
		return ap.Addr().Unmap(), ap.Addr().Zone() == ""
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(value, "["), "]"))
	return a.Unmap(), err == nil && a.Zone() == ""
}

// seenFrom makes r come from its client, for limits and records.
func (s *Server) seenFrom(r *http.Request) {
	if len(s.Proxies) == 0 {
		return
	}
	if from := s.client(r); from != host(r.RemoteAddr) {
		r.RemoteAddr = net.JoinHostPort(from, "0")
	}
}
