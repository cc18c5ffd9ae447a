package neutron

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"
	"github.com/gophercloud/gophercloud/v2"

	"kaname.dev/kaname/fault"
)

// Credentials are what Keystone asks for. They are never logged or written.
type Credentials struct {
	AuthURL       string `yaml:"auth_url"`
	Username      string `yaml:"username"`
	UserID        string `yaml:"user_id"`
	Password      string `yaml:"password"`
	ProjectID     string `yaml:"project_id"`
	ProjectName   string `yaml:"project_name"`
	TenantID      string `yaml:"tenant_id"` // older words for the project
	TenantName    string `yaml:"tenant_name"`
	UserDomainID  string `yaml:"user_domain_id"`
	UserDomain    string `yaml:"user_domain_name"`
	ProjectDomain string `yaml:"project_domain_name"`
	ProjectDomID  string `yaml:"project_domain_id"`
	DomainID      string `yaml:"domain_id"`
	DomainName    string `yaml:"domain_name"`
	AppID         string `yaml:"application_credential_id"`
	AppName       string `yaml:"application_credential_name"`
	AppSecret     string `yaml:"application_credential_secret"`

	Region    string `yaml:"-"`
	Interface string `yaml:"-"` // "public", "internal", "admin"; "" is public
	CACert    string `yaml:"-"` // file of certificates
	Insecure  bool   `yaml:"-"` // the server's certificate is not checked
}

// LogValue shows who asks, and not by what.
func (c *Credentials) LogValue() slog.Value {
	return slog.GroupValue(slog.String("auth_url", c.AuthURL), slog.String("user", first1(c.Username, c.UserID, c.AppID, c.AppName)))
}

// String is as LogValue.
func (c *Credentials) String() string {
	return first1(c.Username, c.UserID, c.AppID, c.AppName) + " at " + c.AuthURL
}

// GoString is as String, for %#v.
func (c *Credentials) GoString() string { return c.String() }

// FromEnv takes credentials from the variables that OpenStack's tools use (OS_AUTH_URL,
// OS_USERNAME, OS_PASSWORD, ...), by get; nil if there is no OS_AUTH_URL.
func FromEnv(get func(string) string) *Credentials {
	if get("OS_AUTH_URL") == "" {
		return nil
	}
	either := func(names ...string) string {
		for _, n := range names {
			if v := get(n); v != "" {
				return v
			}
		}
		return ""
	}
	return &Credentials{
		AuthURL: get("OS_AUTH_URL"), Username: get("OS_USERNAME"), UserID: either("OS_USER_ID", "OS_USERID"), Password: get("OS_PASSWORD"),
		ProjectID: either("OS_PROJECT_ID", "OS_TENANT_ID"), ProjectName: either("OS_PROJECT_NAME", "OS_TENANT_NAME"),
		UserDomainID: get("OS_USER_DOMAIN_ID"), UserDomain: get("OS_USER_DOMAIN_NAME"),
		ProjectDomID: get("OS_PROJECT_DOMAIN_ID"), ProjectDomain: get("OS_PROJECT_DOMAIN_NAME"),
		DomainID: get("OS_DOMAIN_ID"), DomainName: get("OS_DOMAIN_NAME"),
		AppID: get("OS_APPLICATION_CREDENTIAL_ID"), AppName: get("OS_APPLICATION_CREDENTIAL_NAME"), AppSecret: get("OS_APPLICATION_CREDENTIAL_SECRET"),
		Region: get("OS_REGION_NAME"), Interface: either("OS_INTERFACE", "OS_ENDPOINT_TYPE"), CACert: get("OS_CACERT"),
		Insecure: get("OS_INSECURE") == "true" || get("OS_INSECURE") == "1",
	}
}

// FromFile takes the credentials of a cloud from a clouds.yaml; the first of paths that
// exists counts, and a secure.yaml is not read. cloud may be "" where the file has one only.
func FromFile(cloud string, paths ...string) (*Credentials, error) {
	for _, path := range paths {
		b, err := os.ReadFile(path) //nolint:gosec // the operator's own file
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fault.Of(err)
		}
		return parseClouds(b, path, cloud)
	}
	return nil, fault.NotFound(fmt.Sprintf("no clouds.yaml in %q", paths)).Try("write one, or set OS_AUTH_URL and the variables that go with it")
}

// places are where OpenStack's tools look for clouds.yaml.
func places(path string) []string {
	if path != "" {
		return []string{path}
	}
	out := []string{"clouds.yaml"}
	if dir, err := os.UserConfigDir(); err == nil {
		out = append(out, filepath.Join(dir, "openstack", "clouds.yaml"))
	}
	return append(out, "/etc/openstack/clouds.yaml")
}

func parseClouds(b []byte, path, name string) (*Credentials, error) {
	var file struct {
		Clouds map[string]struct {
			Auth      Credentials `yaml:"auth"`
			Region    string      `yaml:"region_name"`
			Interface string      `yaml:"interface"`
			Type      string      `yaml:"endpoint_type"`
			CACert    string      `yaml:"cacert"`
			Verify    *bool       `yaml:"verify"`
		} `yaml:"clouds"`
	}
	if yaml.Unmarshal(b, &file) != nil {
		// The parser's own text quotes the line, and a password may be on it.
		return nil, fault.Invalid("it is not the YAML that a clouds.yaml is").At(path).Try("compare it with the manual of openstacksdk")
	}
	if name == "" && len(file.Clouds) == 1 {
		for name = range file.Clouds {
		}
	}
	cloud, ok := file.Clouds[name]
	if !ok || cloud.Auth.AuthURL == "" {
		return nil, fault.NotFound(fmt.Sprintf("cloud %q, with an auth_url, is not in it", name)).At(path).Try("name one of its clouds by OS_CLOUD or the setting netpath.neutron.cloud")
	}
	c := cloud.Auth
	c.Region, c.Interface, c.CACert = cloud.Region, first1(cloud.Interface, cloud.Type), cloud.CACert
	c.Insecure = cloud.Verify != nil && !*cloud.Verify
	return &c, nil
}

// options are the library's.
func (c *Credentials) options() gophercloud.AuthOptions {
	o := gophercloud.AuthOptions{
		IdentityEndpoint: c.AuthURL, Username: c.Username, UserID: c.UserID, Password: c.Password,
		ApplicationCredentialID: c.AppID, ApplicationCredentialName: c.AppName, ApplicationCredentialSecret: c.AppSecret,
		AllowReauth: true,
	}
	if c.UserID == "" {
		o.DomainID, o.DomainName = first1(c.UserDomainID, c.DomainID), ""
		if o.DomainID == "" {
			o.DomainName = first1(c.UserDomain, c.DomainName)
		}
	}
	id, name := first1(c.ProjectID, c.TenantID), first1(c.ProjectName, c.TenantName)
	o.TenantID, o.TenantName = id, name
	domainID, domain := first1(c.ProjectDomID, c.DomainID, c.UserDomainID), first1(c.ProjectDomain, c.DomainName, c.UserDomain)
	switch {
	case c.AppID != "" || c.AppSecret != "":
		o.TenantID, o.TenantName = "", "" // an application's credentials say which
	case id != "":
		o.Scope, o.TenantName = &gophercloud.AuthScope{ProjectID: id}, ""
	case name != "" && domainID != "":
		o.Scope = &gophercloud.AuthScope{ProjectName: name, DomainID: domainID}
	case name != "" && domain != "":
		o.Scope = &gophercloud.AuthScope{ProjectName: name, DomainName: domain}
	}
	return o
}

// first1 returns the first string that is not empty.
func first1(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}
