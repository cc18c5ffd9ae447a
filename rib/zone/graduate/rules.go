package graduate

import "strings"

// rule says what it means that a statement is there.
type rule struct {
	severity     Severity
	what, remedy string
	unlessNo     bool // the statement may also switch it off
}

const resolver = "it is for resolving: give it to the resolver that the clients will use (Unbound, Knot Resolver, PowerDNS Recursor)"

// zoneRules are of zone types that are neither primary nor secondary.
var zoneRules = map[string]rule{
	"forward":         {Blocker, "a forward zone: authoritative servers do not forward", resolver, false},
	"stub":            {Blocker, "a stub zone: authoritative servers do not look elsewhere", resolver, false},
	"static-stub":     {Blocker, "a static-stub zone: authoritative servers do not look elsewhere", resolver, false},
	"mirror":          {Blocker, "a mirror zone: only resolvers have a use for it", resolver, false},
	"hint":            {Info, "root hints: only resolvers need them", "leave them out", false},
	"redirect":        {Blocker, "a redirect zone rewrites NXDOMAIN", resolver, false},
	"delegation-only": {Warning, "a delegation-only zone filters answers of others", "leave it out; resolvers do without it", false},
	"in-view":         {Blocker, "in-view shows a zone of another view", "give the zone to the server process of each view that shows it", false},
	"dlz":             {Blocker, "the zone comes from a database (DLZ)", "PowerDNS reads databases itself; otherwise export the zone and make it a primary zone", false},
}

// rules are of statements that need a look, at any level.
var rules = map[string]rule{
	"response-policy":          {Blocker, "a response policy zone (RPZ) rewrites answers", resolver, false},
	"dlz":                      {Blocker, "zones come from a database (DLZ), which named.conf does not list", "export them, or move them to PowerDNS, which reads databases itself", false},
	"dyndb":                    {Blocker, "zones come from a plugin (dyndb), which named.conf does not list", "export them from its source (with FreeIPA: keep BIND as a hidden primary and let the new servers be its secondaries)", false},
	"plugin":                   {Blocker, "a plugin changes answers", "look what it does (filter-aaaa, geoip); other servers have no like of it", false},
	"allow-new-zones":          {Blocker, "zones added by rndc addzone are kept outside of named.conf", "list them too: named-nzd2nzf FILE.nzd, or take the running zones with kaname's source of kind bind", true},
	"forwarders":               {Blocker, "forwarding: authoritative servers do not forward", resolver, true},
	"rate-limit":               {Blocker, "response rate limiting", "NSD: rrl-ratelimit; Knot: mod-rrl; PowerDNS: dnsdist in front; the figures do not mean the same, so measure", false},
	"sortlist":                 {Warning, "sortlist orders addresses by client", "leave it out: clients order themselves (RFC 6724)", true},
	"rrset-order":              {Warning, "rrset-order sets the order of records", "NSD: round-robin; Knot and PowerDNS have an order of their own; comparison does not look at order", true},
	"dns64":                    {Blocker, "DNS64 makes AAAA records up", resolver, false},
	"filter-aaaa-on-v4":        {Blocker, "AAAA records are filtered", resolver, true},
	"deny-answer-addresses":    {Info, "deny-answer-addresses guards a resolver", resolver, true},
	"deny-answer-aliases":      {Info, "deny-answer-aliases guards a resolver", resolver, true},
	"blackhole":                {Warning, "blackhole: some clients get no answer", "use a firewall", true},
	"tls":                      {Warning, "a tls statement with certificates", "Knot and NSD have TLS of their own; copy the certificates' paths by hand", false},
	"http":                     {Warning, "DNS over HTTPS", "put dnsdist in front", false},
	"server":                   {Info, "a server statement sets how one peer is spoken to", "the keys of primaries and notifies are carried; look at the rest", false},
	"statistics-channels":      {Info, "the statistics channel", "monitoring has to read the new server's figures", true},
	"controls":                 {Info, "rndc's control channel", "the new server has a channel of its own: kaname zone setup SERVER", true},
	"transfer-source":          {Warning, "transfers come from a given address, which primaries may demand", "give the new server the address, or allow its own at the primaries", false},
	"transfer-source-v6":       {Warning, "transfers come from a given address, which primaries may demand", "give the new server the address, or allow its own at the primaries", false},
	"notify-source":            {Warning, "notifies come from a given address, which secondaries may demand", "give the new server the address, or allow its own at the secondaries", false},
	"notify-source-v6":         {Warning, "notifies come from a given address, which secondaries may demand", "give the new server the address, or allow its own at the secondaries", false},
	"parental-agents":          {Info, "parental-agents watch DS at the parent", "Knot: submission with parent; PowerDNS does not watch", false},
	"dnssec-policy":            {Info, "a dnssec-policy", "write it again for the new signer: Knot policy, PowerDNS default-ksk-algorithm and the like", true},
	"ixfr-from-differences":    {Info, "incremental transfers from changed files", "Knot: zonefile-load difference; NSD: create-ixfr; PowerDNS has none", true},
	"minimal-any":              {Info, "answers to ANY are short", "comparison allows for it", true},
	"dnstap":                   {Info, "dnstap logging", "NSD, Knot and PowerDNS have it too; set it again", true},
	"check-names":              {Info, "names are checked when zones load", "other servers do not, or less", true},
	"empty-zones-enable":       {Info, "built-in empty zones (RFC 6303)", "only resolvers need them; NSD, Knot and PowerDNS answer REFUSED", true},
	"disable-empty-zone":       {Info, "built-in empty zones (RFC 6303)", "only resolvers need them; NSD, Knot and PowerDNS answer REFUSED", false},
	"geoip-directory":          {Warning, "geoip access lists", "Knot: mod-geoip; PowerDNS: its geoip backend; both choose answers, none allows or denies", true},
	"max-zone-ttl":             {Info, "TTLs above a limit are refused when zones load", "other servers load them", true},
	"masterfile-style":         {Info, "the style of written files", "nothing", false},
	"request-ixfr":             {Info, "whether increments are asked for", "other servers ask; NSD: request-xfr AXFR switches it off", false},
	"try-tcp-refresh":          {Info, "how refreshes are asked for", "nothing", false},
	"multi-master":             {Warning, "primaries with serials of their own", "make sure that all primaries of a zone have the same serials; other servers take the newest", true},
	"alt-transfer-source":      {Info, "a second address for transfers", "leave it out", false},
	"allow-query-on":           {Blocker, "some zones are only answered at some addresses", "run one server process an address", false},
	"allow-transfer-on":        {Blocker, "some zones are only transferred at some addresses", "run one server process an address", false},
	"serial-update-method":     {Warning, "how serials are raised by updates", "Knot: serial-policy; PowerDNS: SOA-EDIT-DNSUPDATE", false},
	"journal":                  {Info, "the name of a journal", "nothing: journals stay with BIND", false},
	"database":                 {Blocker, "the zone is kept by another database driver", "export it and make it a primary zone", false},
	"allow-update-forwarding":  {Info, "updates may be forwarded", "see the zones' own lines", true},
	"dnssec-accept-expired":    {Info, "a resolver's setting", resolver, true},
	"trust-anchors":            {Info, "trust anchors of a resolver", resolver, false},
	"managed-keys":             {Info, "trust anchors of a resolver", resolver, false},
	"trusted-keys":             {Info, "trust anchors of a resolver", resolver, false},
	"match-recursive-only":     {Blocker, "the view is only for recursive questions", resolver, true},
	"attach-cache":             {Info, "a resolver's setting", resolver, false},
	"max-transfer-time-in":     {Info, "limits of transfers", "other servers have their own", false},
	"min-refresh-time":         {Warning, "refresh and retry are bounded", "Knot: refresh-min-interval and the like; NSD: min-refresh-time and the like", false},
	"max-refresh-time":         {Warning, "refresh and retry are bounded", "Knot: refresh-max-interval and the like; NSD: max-refresh-time and the like", false},
	"sig-validity-interval":    {Info, "how long signatures are valid", "set it again at the new signer", false},
	"dnssec-dnskey-kskonly":    {Info, "how keys are signed", "nothing: new signers do so", false},
	"update-check-ksk":         {Info, "how keys are signed", "nothing: new signers do so", false},
	"notify-to-soa":            {Info, "who is notified", "look at the zones' notify", true},
	"zone-propagation-delay":   {Info, "a delay of a signer", "set it again at the new signer", false},
	"synth-from-dnssec":        {Info, "a resolver's setting", resolver, true},
	"check-integrity":          {Info, "checks when zones load", "other servers have their own", true},
	"response-padding":         {Info, "padding of answers", "leave it out", false},
	"nsec3-test-zone":          {Info, "a setting for tests", "leave it out", true},
	"provide-ixfr":             {Info, "whether increments are given", "other servers give what they have", false},
	"require-server-cookie":    {Warning, "clients without a DNS cookie are turned away", "NSD 4.6 and later: answer-cookie; Knot: mod-cookies", true},
	"max-ixfr-ratio":           {Info, "how increments are given", "nothing", false},
	"additional-from-auth":     {Info, "what is added to answers", "comparison does not look at it", false},
	"remote-servers":           {Info, "a list of servers", "resolved where it is used", false},
	"dialup":                   {Warning, "notifies and refreshes are heaped up for a dialled line", "leave it out", true},
	"inline-signing-transfers": {Info, "a setting of inline signing", "leave it out", true},
}

// carried are statements that are carried over, looked at elsewhere, or that have no
// meaning outside of BIND.
var carried = words(`acl key view zone options primaries masters include logging catalog-zones
type file class in-view allow-transfer allow-query allow-update allow-notify also-notify notify update-policy
auto-dnssec inline-signing key-directory masterfile-format match-clients match-destinations recursion
directory pid-file session-keyfile session-keyname session-keyalg lock-file listen-on listen-on-v6 port
dump-file statistics-file memstatistics-file secroots-file recursing-file bindkeys-file managed-keys-directory
version hostname server-id allow-recursion allow-recursion-on allow-query-cache allow-query-cache-on
dnssec-validation minimal-responses querylog zone-statistics tcp-clients tcp-listen-queue transfers-in transfers-out
transfers-per-ns recursive-clients max-cache-size max-cache-ttl max-ncache-ttl lmdb-mapsize new-zones-directory
notify-delay notify-rate startup-notify-rate serial-query-rate heartbeat-interval interface-interval
edns-udp-size max-udp-size nocookie-udp-size tcp-idle-timeout tcp-initial-timeout tcp-keepalive-timeout
max-journal-size min-retry-time max-retry-time flush-zones-on-shutdown auth-nxdomain forward prefetch
query-source query-source-v6 dnssec-enable dnssec-loadkeys-interval max-records statistics coresize datasize files
stacksize reserved-sockets automatic-interface-scan answer-cookie cookie-algorithm cookie-secret send-cookie
qname-minimization stale-answer-enable stale-cache-enable max-stale-ttl stale-answer-ttl tkey-gssapi-keytab
tkey-domain tkey-gssapi-credential clients-per-query max-clients-per-query fetches-per-server fetches-per-zone
resolver-query-timeout root-delegation-only message-compression`)

func words(s string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(s) {
		m[w] = true
	}
	return m
}
