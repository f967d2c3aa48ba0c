//! Processors' architectures: kernels, compilers and images call them differently; Go's names are docker's.

/// Go's name of an architecture that anybody else may have named; what is unknown stays as it is.
pub fn architecture(name: &str) -> &str {
    match name {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "x86" | "i386" => "386",
        other => other,
    }
}

/// The architecture that this program was made for, which is the machine's.
pub fn host_architecture() -> &'static str {
    architecture(std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_name() {
        assert_eq!(architecture("x86_64"), architecture("amd64"));
        assert_eq!(architecture("aarch64"), "arm64");
        assert_eq!(architecture("riscv64"), "riscv64");
        assert_eq!(host_architecture(), architecture(host_architecture()));
    }
}
