//! The TLS connector for each `sslmode`, with libpq's meaning of the modes.
//!
//! Promises the ring provider whatever else is linked in, that `verify-full` and `verify-ca` never
//! accept a certificate that no trusted root has signed, and that a mode which verifies is never
//! weakened because a file is missing.
//!
//! Not here: revocation lists, encrypted keys, and host names in a certificate's common name,
//! which rustls does not look at (a subject alternative name is needed).

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// As `Prefer`: libpq would try without TLS first, which protects less and is of no use here.
    Allow,
    /// TLS if the server offers it; unlike in libpq, a failed handshake is an error, not a reason
    /// to go on without.
    Prefer,
    /// TLS or no connection; the certificate is verified only if there is a root certificate file.
    Require,
    /// TLS with a certificate that a trusted root has signed.
    VerifyCa,
    /// As `VerifyCa`, and the certificate names the host.
    VerifyFull,
}

/// Why the TLS connector cannot be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// No trusted root certificates were found anywhere.
    #[error(
        "the server's certificate cannot be verified because no root certificates were found; \
         name a file with sslrootcert, or install the system's CA certificates"
    )]
    NoRoots,
    /// The root certificate file is of no use.
    #[error("the sslrootcert file {} cannot be used because {cause}", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The client's certificate or key is of no use.
    #[error("the {keyword} file {} cannot be used because {cause}", path.display())]
    Client {
        /// `sslcert` or `sslkey`.
        keyword: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// rustls refuses the combination.
    #[error("TLS cannot be set up because {0}")]
    Rustls(#[from] rustls::Error),
}

/// What the TLS connector is built from.
#[derive(Debug, Clone)]
pub(crate) struct TlsSettings {
    /// How much is verified.
    pub mode: SslMode,
    /// `sslrootcert`: a file of PEM certificates, or `system`.
    pub root: Option<String>,
    /// `sslcert`, a PEM file; with `key`, the client's own certificate.
    pub certificate: Option<PathBuf>,
    /// `sslkey`, a PEM file.
    pub key: Option<PathBuf>,
    /// Where libpq's default files are (`~/.postgresql`), if the home directory is known.
    pub defaults: Option<PathBuf>,
    /// Whether the host name is sent to the server in the clear (`sslsni`).
    pub sends_name: bool,
    /// Whether the login relies on the server's key (`channel_binding=require`).
    pub binds_channel: bool,
}

/// Builds the connector; reads the certificate files now, so a later change of them needs a new
/// connector.
pub(crate) fn connector(settings: &TlsSettings) -> Result<MakeRustlsConnect, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = verifier(settings, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match client_certificate(settings)? {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    config.enable_sni = settings.sends_name;
    Ok(MakeRustlsConnect::new(config))
}

fn verifier(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let roots = roots(settings)?;
    if let (SslMode::VerifyFull, Some(roots)) = (settings.mode, &roots) {
        let roots = Arc::new(roots.clone());
        let builder =
            rustls::client::WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
        return Ok(builder.build().map_err(|error| rustls::Error::General(error.to_string()))?);
    }
    let algorithms = provider.signature_verification_algorithms;
    let reads_every_certificate = roots.is_some() || settings.binds_channel;
    Ok(Arc::new(PartialVerifier { roots, algorithms, reads_every_certificate }))
}

/// Returns the roots to verify against, `None` if the mode verifies nothing.
fn roots(settings: &TlsSettings) -> Result<Option<RootCertStore>, TlsError> {
    let default = settings.defaults.as_ref().map(|directory| directory.join("root.crt"));
    let default = default.filter(|path| path.exists());
    match (settings.mode, settings.root.as_deref(), default) {
        (SslMode::Disable, _, _) => Ok(None),
        (_, Some("system"), _) => system_roots().map(Some),
        (_, Some(path), _) => roots_in(Path::new(path)).map(Some),
        // libpq, too, lets the mere presence of its default file make `require` verify.
        (SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull, None, Some(path)) => {
            roots_in(&path).map(Some)
        }
        (SslMode::VerifyCa | SslMode::VerifyFull, None, None) => system_roots().map(Some),
        (SslMode::Allow | SslMode::Prefer | SslMode::Require, None, _) => Ok(None),
    }
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}

fn roots_in(path: &Path) -> Result<RootCertStore, TlsError> {
    let fail = |cause: String| TlsError::Root { path: path.to_path_buf(), cause };
    let mut roots = RootCertStore::empty();
    for certificate in certificates_in(path).map_err(fail)? {
        roots.add(certificate).map_err(|error| fail(error.to_string()))?;
    }
    Ok(roots)
}

fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err("it holds no certificate in PEM form".to_owned())
        }
        Ok(certificates) => Ok(certificates),
        Err(_) => Err("it is not well-formed PEM".to_owned()),
    }
}

type ClientCertificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_certificate(settings: &TlsSettings) -> Result<Option<ClientCertificate>, TlsError> {
    let default = |name: &str| settings.defaults.as_ref().map(|directory| directory.join(name));
    let is_named = settings.certificate.is_some();
    let certificate = settings.certificate.clone().or_else(|| default("postgresql.crt"));
    let Some(path) = certificate.filter(|path| is_named || path.exists()) else { return Ok(None) };
    if settings.mode == SslMode::Disable {
        return Ok(None);
    }
    let fail =
        |keyword, path: &Path, cause| TlsError::Client { keyword, path: path.to_path_buf(), cause };
    let chain = certificates_in(&path).map_err(|cause| fail("sslcert", &path, cause))?;
    let key_path = settings.key.clone().or_else(|| default("postgresql.key")).unwrap_or_default();
    let key = private_key_in(&key_path).map_err(|cause| fail("sslkey", &key_path, cause))?;
    Ok(Some((chain, key)))
}

fn private_key_in(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let about = std::fs::metadata(path).map_err(|error| error.to_string())?;
    // As in libpq: root may let a group read the key.
    let forbidden = if about.uid() == 0 { 0o037 } else { 0o077 };
    if about.permissions().mode() & forbidden != 0 {
        return Err("others may access it (chmod 0600 it)".to_owned());
    }
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| "it holds no private key in PEM form, or an encrypted one".to_owned())
}

/// Verifies the chain but not the host name, or nothing but that the server has the key.
#[derive(Debug)]
struct PartialVerifier {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    reads_every_certificate: bool,
}

impl PartialVerifier {
    // Home-made certificates of X.509 version 1, which webpki cannot read, are common, and libpq
    // takes them where nothing is verified. With channel binding the proof of the key is the
    // protection, so there it is not waived.
    fn waives_proof(&self, certificate: &CertificateDer<'_>) -> bool {
        !self.reads_every_certificate && ParsedCertificate::try_from(certificate).is_err()
    }
}

impl ServerCertVerifier for PartialVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.waives_proof(certificate) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.waives_proof(certificate) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Tells what to do about a certificate that was refused, if there is something to say.
pub(crate) fn advice(error: &rustls::Error) -> Option<&'static str> {
    let rustls::Error::InvalidCertificate(refused) = error else { return None };
    let text = refused.to_string();
    // Another CA of the same name shows as a bad signature.
    if matches!(refused, CertificateError::UnknownIssuer | CertificateError::BadSignature) {
        return Some("name the file of the right CA's certificate with sslrootcert");
    }
    let advices = [
        ("CaUsedAsEndEntity", "the server shows a CA certificate as its own; let the CA sign one"),
        ("UnsupportedCertVersion", "the server needs a certificate of X.509 version 3"),
        ("not valid for", "sslmode=verify-ca does not compare the host name"),
    ];
    advices.into_iter().find(|(fragment, _)| text.contains(fragment)).map(|(_, advice)| advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn settings(mode: SslMode, directory: &Path) -> TlsSettings {
        TlsSettings {
            mode,
            root: None,
            certificate: None,
            key: None,
            defaults: Some(directory.to_path_buf()),
            sends_name: true,
            binds_channel: false,
        }
    }

    fn failure(settings: &TlsSettings) -> String {
        connector(settings).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_missing_root_file_is_an_error_that_names_sslrootcert() {
        let directory = tempfile::tempdir().unwrap();
        for mode in [SslMode::Prefer, SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
            let mut settings = settings(mode, directory.path());
            settings.root = Some("/nonexistent/ca.pem".into());
            let text = failure(&settings);
            assert!(text.starts_with("the sslrootcert file /nonexistent/ca.pem cannot"), "{text}");
        }
    }

    #[test]
    fn the_default_root_file_counts_where_the_mode_requires_tls() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("root.crt"), "no certificate").unwrap();
        for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
            assert!(failure(&settings(mode, directory.path())).contains("holds no certificate"));
        }
        for mode in [SslMode::Disable, SslMode::Allow, SslMode::Prefer] {
            assert_eq!(failure(&settings(mode, directory.path())), "");
        }
    }

    #[test]
    fn a_client_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
        let key = directory.path().join("postgresql.key");
        fs::write(directory.path().join("postgresql.crt"), made.cert.pem()).unwrap();
        let settings = settings(SslMode::Require, directory.path());
        assert!(failure(&settings).starts_with("the sslkey file"));
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o604)).unwrap();
        assert!(failure(&settings).contains("others may access it"));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(failure(&settings), "");
    }
}
