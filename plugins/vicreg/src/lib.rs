//! VICReg: variance, invariance, covariance (Bardes, Ponce and LeCun, 2022), written against the
//! supervision graph.

mod objective;
mod recipe;
mod terms;

use objective::VicReg;

hssl_plugin_api::export! {
    name: "vicreg",
    objective "vicreg": VicReg, "VICReg: agree, while every dimension varies and no two go together";
}
