//! How what is kept looks in the file: as people write it.

use super::EniId;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::net::IpAddr;
use weir_path::addr::Ip6;
use weir_path::tables::ConnectorId;

pub(super) mod connector {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(id: &ConnectorId, to: S) -> Result<S::Ok, S::Error> {
        id.0.serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ConnectorId, D::Error> {
        u32::deserialize(from).map(ConnectorId)
    }
}

pub(super) mod address {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(address: &Ip6, to: S) -> Result<S::Ok, S::Error> {
        IpAddr::from(*address).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Ip6, D::Error> {
        IpAddr::deserialize(from).map(Ip6::from)
    }
}

impl Serialize for EniId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EniId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let digits = text.strip_prefix("eni-").filter(|digits| digits.len() == 17);
        let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.map(Self).ok_or_else(|| D::Error::custom(format!("\"{text}\" is not the name of an ENI")))
    }
}
